"""What a method is: four calls of its own, and defaults for what only some methods need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from backmix.mixing.cam import check_labels
from backmix.mixing.checks import check

Images2Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TrainingBatch:
    """What the training loop hands to a method.

    Attributes:
        images: (V * B, 3, H, W) float, normalised, mixed and cropped; V views of the batch, one after the other.
        labels: (B,) int64 known class of each image.
        targets: labels (B,) with weights that sum to 1, where an augmentation mixed labels; None: `labels`, weight 1.
        outliers: (O, 3, H, W) float images of no known class, cropped as `images`; None without a source of them.
        progress: share of the training that is done, 0..1.
        step: number of the step, over the whole training.
    """

    images: Tensor
    labels: Tensor
    targets: tuple[tuple[Tensor, float], ...] | None = None
    outliers: Tensor | None = None
    progress: float = 0.0
    step: int = 0

    def weighted(self, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """Mean of `loss(labels)` over the targets, by weight: for a linear loss what soft labels would give."""
        if self.targets is None:
            return loss(self.labels)
        return torch.stack([weight * loss(labels) for labels, weight in self.targets]).sum()


@dataclass(frozen=True)
class Response:
    """What a network says of images: class logits (B, K), pooled features (B, C), the method's score (B,), float32."""

    logits: Tensor
    features: Tensor
    score: Tensor


class Method(nn.Module):
    """A training objective with its logits, its unknown score and its evidence map.

    A subclass writes `loss`, `logits`, `unknown_score` and `evidence`; all take the feature map (B, C, h, w) before
    pooling, in any float dtype, and compute in float32 where half precision would round away what matters. The rest
    has defaults. A method neither knows the training loop nor moves anything between devices.

    Args:
        num_features: channels C of the feature map.
        num_classes: known classes K, at least 2.

    Attributes:
        name: as in `METHODS`; errors begin with it.
        views: how many crops of each image `TrainingBatch.images` must hold.
        needs_outliers: whether training without outliers is an error.
        uses_outliers: whether outliers are looked at when there are some.
        outlier_share: how many outliers of a data set to show for each image.
        partial_gradients: whether some steps leave some parameters without a gradient, which several processes that
            train together must know.
        needs_statistics: whether `learn` wants to see the training images once more when training is over.

    Raises:
        ValueError: for fewer than two classes.
    """

    name: ClassVar[str] = "method"
    views: ClassVar[int] = 1
    needs_outliers: ClassVar[bool] = False
    uses_outliers: ClassVar[bool] = False
    outlier_share: ClassVar[float] = 1.0
    partial_gradients: ClassVar[bool] = False
    needs_statistics: ClassVar[bool] = False

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        check(num_classes >= 2, f"{self.name} needs at least two known classes; got {num_classes}")
        self.num_features = num_features
        self.num_classes = num_classes

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Scalar to minimise: features (B, C, h, w), labels (B,) int64."""
        raise NotImplementedError

    def logits(self, features: Tensor) -> Tensor:
        """Class logits (B, K)."""
        raise NotImplementedError

    def unknown_score(self, features: Tensor) -> Tensor:
        """Scores (B,) float32, higher = more unknown."""
        raise NotImplementedError

    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Evidence for the labels at each place: (B, C, h, w), (B,) -> (B, h, w) in 0..1, without gradient."""
        raise NotImplementedError

    def prepare(self, backbone: nn.Module, image_size: int) -> None:
        """Change or look at the backbone, once, before anything else. `backmix.models.Backbone`; side in pixels."""

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """One step: feature map (B, C, h, w) of the batch's first view, and the scalar loss.

        Methods that look at other images than the batch, or at layers below the feature map, replace this.
        """
        features = backbone(batch.images)
        return features, batch.weighted(lambda labels: self.loss(features, labels))

    def respond(self, backbone: Images2Features, images: Tensor) -> Response:
        """Answer images (B, 3, H, W); methods that score other versions of an image than itself replace this."""
        features = backbone(images)
        return Response(self.logits(features).float(), self.pooled(features), self.unknown_score(features).float())

    @torch.no_grad()
    def pooled(self, features: Tensor) -> Tensor:
        """Pooled features that detectors look at: (B, C, h, w) -> (B, C) float32."""
        return features.float().mean((2, 3))

    def learn(self, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Gather statistics when training is over, if `needs_statistics`.

        Args:
            batches: each call goes once through the training images, not augmented, in evaluation mode: pairs of
                feature maps (B, C, h, w) float32 and labels (B,) int64, without gradient.
        """

    def rate(self, progress: float, schedule: Callable[[float], float]) -> float:
        """Learning rate of a step, as a share of the largest.

        Methods that train in parts replace this.

        Args:
            progress: share of the training that is done, 0..1.
            schedule: the share that the training's schedule gives at a progress of 0..1.
        """
        return schedule(progress)

    def own_optimizer(self) -> torch.optim.Optimizer | None:
        """Optimiser of parameters that the training's own must leave alone, such as those of an adversary."""
        return None

    def check(self, features: Tensor, labels: Tensor) -> None:
        """Raise ValueError, with the method's name, unless features and labels fit."""
        self.check_features(features)
        try:
            check_labels(labels, len(features), self.num_classes)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None

    def check_features(self, features: Tensor) -> None:
        """Raise ValueError, with the method's name, unless features are (B, C, h, w) with C as announced."""
        if features.ndim != 4 or features.shape[1] != self.num_features:
            raise ValueError(
                f"{self.name} takes feature maps (B, {self.num_features}, h, w) before pooling; "
                f"got {tuple(features.shape)}"
            )

    def check_outliers(self, batch: TrainingBatch) -> Tensor:
        """The outliers of a batch; ValueError, with the method's name, when there are none."""
        if batch.outliers is None:
            raise ValueError(
                f"{self.name} learns from images of no known class and was given none. Give --outliers DATA, a data "
                "set of such images, or --outliers backgrounds, the training images with their objects masked."
            )
        return batch.outliers
