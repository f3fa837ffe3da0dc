"""Class anchor clustering: the outputs for a class move towards one fixed point, the anchor of the class."""

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

    During training the anchors are fixed at c_k = alpha * e_k. The loss is the mean of
    log(1 + sum_{j != y} exp(d_y - d_j)), which is the cross-entropy of -d, plus weight times the mean of d_y. Distances
    are not squared. After the training, each c_k moves to the mean z of the correctly classified training images of its
    class, as in the authors' evaluation. (The authors also show each image mirrored; here each image is seen once.) A
    class without such an image keeps its anchor.

    Source: Miller et al., "Class anchor clustering: a loss for distance-based open set recognition", WACV 2021.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        alpha: The distance of the anchors from the origin, above 0; 10 in the paper.
        weight: The weight lambda of the anchor term, 0 or more; 0.1 in the paper.

    Attributes:
        head: The linear layer. Its weights start as normal with standard deviation 0.01 and its bias as 0, as in the
            authors' code.
        anchors: (K, K) anchors, which the loss uses.
        centres: (K, K) centres, which logits and score use. They are the anchors until `learn` moves them.

    Raises:
        ValueError: If there are fewer than two classes, or an option is outside its range.
    """

    name: ClassVar[str] = "cac"
    on_pooled_features: ClassVar[bool] = True
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
        """Return the tuplet term plus the anchor term, on the fixed anchors: (B, C, h, w), (B,) int64 -> scalar."""
        self.check(features, labels)
        distances = self._distances(features, self.anchors)
        own = distances.gather(1, labels[:, None])
        return F.cross_entropy(-distances, labels) + self.weight * own.mean()

    def logits(self, features: Tensor) -> Tensor:
        """Return minus the distances to the centres: features (B, C, h, w) -> (B, K) float32."""
        return -self._distances(features, self.centres)

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return min_k d_k (1 - softmin(d)_k): features (B, C, h, w) -> (B,) float32, 0 or more, higher = more unknown.

        Both factors are smallest for the nearest centre, so the product is smallest there too.
        """
        distances = self._distances(features, self.centres)
        nearest, best = distances.min(1, keepdim=True)
        # For confident images 1 - softmin rounds to 0, and they tie. The sum over the other classes stays above 0.
        others = (nearest - distances).exp().scatter(1, best, 0.0).sum(1)
        return nearest[:, 0] * others / (1 + others)

    @torch.no_grad()
    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the evidence for the label, compared with other classes, at each cell, without gradient.

        The map is minus half the squared distance to the label's centre, minus the mean of this over all centres. Up to
        a constant this is z(u).(c_y - mean c). The distance alone would also show how far a cell is from all centres.
        The shapes are (B, C, h, w), (B,) -> (B, h, w) in 0..1.
        """
        self.check(features, labels)
        with torch.autocast(features.device.type, enabled=False):
            weight = (self.centres - self.centres.mean(0)).float() @ self.head.weight.detach().float()
        return class_activation_map(features, weight, labels)

    @torch.no_grad()
    def learn(self, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Move the centres to the class means of the training images that are classified correctly."""
        sums = torch.zeros(self.num_classes, self.num_classes, dtype=torch.float64)
        counts = torch.zeros(self.num_classes, dtype=torch.float64)
        for features, labels in batches():
            # The nearest anchor to z is the anchor of its largest entry.
            outputs, labels = self._outputs(features.to(self.anchors.device)).cpu(), labels.cpu()
            right = outputs.argmax(1) == labels
            sums.index_add_(0, labels[right], outputs[right].double())
            counts += torch.bincount(labels[right], minlength=self.num_classes)
        means = (sums / counts.clamp(min=1)[:, None]).to(self.centres)
        self.centres.copy_(torch.where((counts > 0).to(means.device)[:, None], means, self.anchors))

    def _outputs(self, features: Tensor) -> Tensor:
        """Return z: features (B, C, h, w) -> (B, K) float32."""
        self.check_features(features)
        return pooled_linear(self.head, features)

    def _distances(self, features: Tensor, anchors: Tensor) -> Tensor:
        """Return the distances to the anchors: features (B, C, h, w), (K, K) -> (B, K) float32."""
        # Matrix products would lose small distances. With cdist the gradient at distance 0 is 0 instead of infinite.
        return torch.cdist(self._outputs(features), anchors.float(), compute_mode="donot_use_mm_for_euclid_dist")
