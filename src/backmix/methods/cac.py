"""Class anchor clustering: logits are drawn to one fixed point per class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backmix.methods.base import Method
from backmix.methods.pooling import pooled_linear
from backmix.mixing.cam import class_activation_map
from backmix.mixing.checks import check


class CAC(Method):
    """A linear layer to K numbers z, and the distances d_k = ||z - c_k|| to one anchor per class.

    In training the anchors are c_k = alpha * e_k and stay there; the loss is the mean of
    log(1 + sum_{j != y} exp(d_y - d_j)), which is the cross-entropy of -d, plus weight times the mean of d_y. When
    training is over each c_k moves to the mean z of the training images of its class that are classified correctly,
    as the authors' evaluation does (they also show each image mirrored there; here it is seen once); a class without
    such an image keeps its anchor. Miller et al., "Class anchor clustering: a loss for distance-based open set
    recognition", WACV 2021. Distances are not squared.

    Args:
        num_features: channels C of the feature map.
        num_classes: known classes K, at least 2.
        alpha: distance of the anchors from the origin, above 0; 10 in the paper.
        weight: of the anchor term (lambda), 0 or more; 0.1 in the paper.

    Attributes:
        head: the linear layer, weights from normal of deviation 0.01 and bias from 0, as in the authors' code.
        anchors: (K, K), what the loss draws to.
        centres: (K, K), what logits and score are measured from; the anchors until `learn`.

    Raises:
        ValueError: for fewer than two classes or options outside their range.
    """

    name: ClassVar[str] = "cac"
    needs_statistics: ClassVar[bool] = True
    anchors: Tensor
    centres: Tensor

    def __init__(self, num_features: int, num_classes: int, *, alpha: float = 10.0, weight: float = 0.1) -> None:
        super().__init__(num_features, num_classes)
        check(alpha > 0, f"{self.name}: alpha is above 0; got {alpha}")
        check(weight >= 0, f"{self.name}: weight is 0 or more; got {weight}")
        self.weight = weight
        self.head = nn.Linear(num_features, num_classes)
        nn.init.normal_(self.head.weight, 0.0, 0.01)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("anchors", alpha * torch.eye(num_classes))
        self.register_buffer("centres", self.anchors.clone())

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Tuplet and anchor term, on the fixed anchors: features (B, C, h, w), labels (B,) int64 -> scalar."""
        self.check(features, labels)
        distances = self._distances(features, self.anchors)
        own = distances.gather(1, labels[:, None])
        return F.cross_entropy(-distances, labels) + self.weight * own.mean()

    def logits(self, features: Tensor) -> Tensor:
        """Minus the distances to the centres: features (B, C, h, w) -> (B, K) float32."""
        return -self._distances(features, self.centres)

    def unknown_score(self, features: Tensor) -> Tensor:
        """min_k d_k (1 - softmin(d)_k): features (B, C, h, w) -> (B,) float32, 0 or more.

        Both factors are smallest for the nearest centre, so that is where the product is smallest.
        """
        distances = self._distances(features, self.centres)
        nearest, best = distances.min(1, keepdim=True)
        # 1 - softmin rounds to 0 for confident images, which then tie; the sum over the other classes does not.
        others = (nearest - distances).exp().scatter(1, best, 0.0).sum(1)
        return nearest[:, 0] * others / (1 + others)

    @torch.no_grad()
    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """What speaks for the label more than for other classes at each cell: -> (B, h, w) in 0..1, without gradient.

        Minus half the squared distance to the label's centre less the mean of all: z(u).(c_y - mean c) and a constant.
        The distance itself also measures how far a cell is from every centre.
        """
        self.check(features, labels)
        with torch.autocast(features.device.type, enabled=False):
            weight = (self.centres - self.centres.mean(0)) @ self.head.weight.detach().float()
        return class_activation_map(features, weight, labels)

    @torch.no_grad()
    def learn(self, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Move the centres to the class means of the training images that are classified correctly."""
        sums = torch.zeros(self.num_classes, self.num_classes, dtype=torch.float64)
        counts = torch.zeros(self.num_classes, dtype=torch.float64)
        for features, labels in batches():
            # The anchor nearest to z is that of its largest entry.
            outputs, labels = self._outputs(features.to(self.anchors.device)).cpu(), labels.cpu()
            right = outputs.argmax(1) == labels
            sums.index_add_(0, labels[right], outputs[right].double())
            counts += torch.bincount(labels[right], minlength=self.num_classes)
        means = (sums / counts.clamp(min=1)[:, None]).to(self.centres)
        self.centres.copy_(torch.where((counts > 0).to(means.device)[:, None], means, self.anchors))

    def _outputs(self, features: Tensor) -> Tensor:
        """z: features (B, C, h, w) -> (B, K) float32."""
        self.check_features(features)
        return pooled_linear(self.head, features)

    def _distances(self, features: Tensor, anchors: Tensor) -> Tensor:
        """Distances to the anchors: features (B, C, h, w), (K, K) -> (B, K) float32."""
        # Not by products, which lose the small distances; at distance 0 the gradient is 0 instead of infinite.
        return torch.cdist(self._outputs(features), anchors.float(), compute_mode="donot_use_mm_for_euclid_dist")
