"""K nearest neighbours: the training images whose features have the most similar direction vote on the class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from backmix.methods.base import Method
from backmix.methods.unit_features import pooled_training, unit_blocks, unit_rows
from backmix.mixing.cam import class_activation_map
from backmix.mixing.checks import check

NEIGHBOURS = 1024  # The number of training images that are compared at the same time.


class KNearest(Method):
    """Weighted votes of the k most similar training images, kept without gradient steps.

    c_1 >= c_2 >= ... are the cosines between the pooled features of an image and those of the training images. The k
    nearest vote for their classes with the weights w_i = exp((c_i - 1) / temperature), as Wu et al., "Unsupervised
    feature learning via non-parametric instance discrimination", CVPR 2018, section 3.4, with their temperature:

        logit_k = log(sum of w_i over the nearest i of class k + w_k-th / K)

    The second term is one more vote of the weight of the last neighbour, divided evenly between the K classes, because
    most classes are not among the neighbours and the log of 0 has no value. It changes no order of classes. The softmax
    of the logits is the share of the votes.

    The unknown score is minus the largest cosine, from -1 to 1: with few images in each class, the nearest image is the
    safe choice (see the detector `cosine_knn`, which has the same score). A training image has itself as its nearest.

    The network keeps the features of all training images, N x C numbers, in its weights and in exported files.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        k: The number of images that vote, 1 or more. With fewer training images, all of them vote.
        temperature: The temperature of the weights, above 0.

    Attributes:
        kept: (N, C) float32, the training features of length 1. Before `learn`, one row of zeros for each class.
        owners: (N,) int64, the classes of the training images.

    Raises:
        ValueError: If there are fewer than two classes, or an option is outside its range.
    """

    name: ClassVar[str] = "knn"
    needs_statistics: ClassVar[bool] = True
    on_pooled_features: ClassVar[bool] = True
    learns_at_once: ClassVar[bool] = True

    kept: Tensor
    owners: Tensor

    def __init__(self, num_features: int, num_classes: int, *, k: int = 10, temperature: float = 0.07) -> None:
        super().__init__(num_features, num_classes)
        check(k >= 1, f"{self.name}: k counts the images that vote, 1 or more; got {k}")
        check(temperature > 0, f"{self.name}: temperature is above 0; got {temperature}")
        self.k = k
        self.temperature = temperature
        self.register_buffer("kept", torch.zeros(num_classes, num_features))
        self.register_buffer("owners", torch.arange(num_classes))

    def logits(self, features: Tensor) -> Tensor:
        """Return the log of the votes for each class: features (B, C, h, w) -> (B, K) float32."""
        cosines, owners = self._nearest(self._rows(features), self.k)
        weights = ((cosines - cosines[:, :1]) / self.temperature).exp()  # The nearest image has weight 1 here.
        votes = weights.new_zeros(len(weights), self.num_classes).scatter_add(1, owners, weights)
        shares = votes + weights[:, -1:] / self.num_classes
        # With a small temperature even the last vote can round to 0.
        return shares.clamp(min=torch.finfo(shares.dtype).tiny).log() + (cosines[:, :1] - 1) / self.temperature

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return minus the largest cosine: (B, C, h, w) -> (B,) float32 in -1..1, higher = more unknown."""
        return -self._nearest(self._rows(features), 1)[0][:, 0]

    @torch.no_grad()
    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the evidence for the label, compared with other classes, at each cell, without gradient.

        The shapes are (B, C, h, w), (B,) -> (B, h, w) in 0..1. The map is `f(u).(n - m)`, cut off below 0 and scaled. n
        is the mean of the k training images of the label that are nearest to the image, and m is the mean of the class
        means. It shows which cells make the image more similar to its neighbours of the label than to all images.
        """
        self.check(features, labels)
        rows = self._rows(features)
        cosines = self._cosines(rows, self.kept).masked_fill(self.owners != labels[:, None], -torch.inf)
        nearest, at = cosines.topk(min(self.k, len(self.owners)), 1)
        own = nearest.isfinite().to(rows)  # A class may have fewer images than k.
        neighbours = (self.kept[at] * own[:, :, None]).sum(1) / own.sum(1, keepdim=True).clamp(min=1)
        sums = torch.zeros(self.num_classes, self.num_features).to(rows).index_add_(0, self.owners, self.kept)
        counts = self.owners.bincount(minlength=self.num_classes)[:, None].clamp(min=1)
        # Every image has its own weights, so the number of the image takes the place of the class here.
        image = torch.arange(len(labels), device=labels.device)
        return class_activation_map(features, neighbours - (sums / counts).mean(0), image)

    @torch.no_grad()
    def learn(self, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Keep the features of length 1 of the training images.

        Raises:
            ValueError: If a class has no training image, or a feature is not finite.
        """
        features, labels = pooled_training(self.name, batches, self.num_classes, self.num_features)
        device = self.kept.device
        self.kept = torch.cat([rows.float() for rows, _ in unit_blocks(features, labels)]).to(device)
        self.owners = labels.to(device)

    def _rows(self, features: Tensor) -> Tensor:
        """Return the pooled features of length 1: features (B, C, h, w) -> (B, C) float32."""
        self.check_features(features)
        return unit_rows(features.float().mean((2, 3))).float()

    def _cosines(self, rows: Tensor, training: Tensor) -> Tensor:
        """Return the cosines (B, N) of rows (B, C) and training rows (N, C), in float32 also under autocast."""
        with torch.autocast(rows.device.type, enabled=False):
            return rows @ training.T

    def _nearest(self, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k largest cosines, the largest first, and the classes of these images: (B, C) -> (B, k) twice.

        The training images are compared in blocks, so that memory does not grow with their number.
        """
        found: tuple[Tensor, Tensor] | None = None
        for kept, owners in zip(self.kept.split(NEIGHBOURS), self.owners.split(NEIGHBOURS), strict=True):
            cosines, at = self._cosines(rows, kept).topk(min(k, len(kept)), 1)
            nearest = (cosines, owners[at])
            if found is not None:
                cosines = torch.cat([found[0], nearest[0]], 1)
                cosines, at = cosines.topk(min(k, cosines.shape[1]), 1)
                nearest = (cosines, torch.cat([found[1], nearest[1]], 1).gather(1, at))
            found = nearest
        assert found is not None
        return found

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *more: Any) -> None:
        """Take the number of training images from the state, because it differs from run to run."""
        kept, owners = (state_dict.get(prefix + name) for name in ("kept", "owners"))
        if kept is not None and owners is not None and _agree(kept, owners, self.num_features):
            self.kept = self.kept.new_empty(kept.shape)
            self.owners = self.owners.new_empty(owners.shape)
            if not 0 <= int(owners.min()) <= int(owners.max()) < self.num_classes:
                more[-1].append(f"{prefix}owners: classes lie in 0..{self.num_classes - 1}")
        super()._load_from_state_dict(state_dict, prefix, *more)


def _agree(kept: Tensor, owners: Tensor, channels: int) -> bool:
    """Return whether training features and their classes can belong to the same images."""
    return kept.ndim == 2 and kept.shape[1] == channels and len(kept) > 0 and owners.shape == kept.shape[:1]
