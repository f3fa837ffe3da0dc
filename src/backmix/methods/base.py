"""The base class of all methods, with defaults for the functions that only some methods need."""

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
    """The inputs of a method for one training step.

    Attributes:
        images: (V * B, 3, H, W) float images: normalised, mixed and cropped. They are V views of the batch, one view
            after the other.
        labels: (B,) int64 known class of each image.
        targets: Pairs of labels (B,) and a weight, whose weights sum to 1, if an augmentation mixed labels; None:
            `labels` with weight 1.
        outliers: (O, 3, H, W) float images of no known class, cropped like `images`; None if there is no source of
            outliers.
        progress: The share of the training that is done, 0..1.
        step: The number of the step in the whole training.
    """

    images: Tensor
    labels: Tensor
    targets: tuple[tuple[Tensor, float], ...] | None = None
    outliers: Tensor | None = None
    progress: float = 0.0
    step: int = 0

    def weighted(self, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the weighted mean of `loss(labels)` over the targets.

        For a loss that is linear in the labels, it equals the loss with soft labels.
        """
        if self.targets is None:
            return loss(self.labels)
        return torch.stack([weight * loss(labels) for labels, weight in self.targets]).sum()


@dataclass(frozen=True)
class Response:
    """The outputs of a network for images, all float32.

    Attributes:
        logits: (B, K) class logits.
        features: (B, C) pooled features.
        score: (B,) unknown scores of the method, higher = more unknown.
    """

    logits: Tensor
    features: Tensor
    score: Tensor


class Method(nn.Module):
    """A training objective with its logits, its unknown score and its evidence map.

    A subclass implements `logits`, `unknown_score`, `evidence`, and `loss` or, with `learns_at_once`, `learn`. These
    take the feature map (B, C, h, w) before pooling, in any float dtype, and compute in float32 where half precision
    would lose too much. All other functions have defaults. A method does not use the training loop and does not move
    tensors between devices.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.

    Attributes:
        name: The name in `METHODS`. Errors begin with it.
        views: The number of crops of each image that `TrainingBatch.images` must contain.
        needs_outliers: Whether training without outliers is an error.
        uses_outliers: Whether the method uses outliers if there are any.
        outlier_share: The number of outliers from a data set to show for each image.
        partial_gradients: Whether some parameters get no gradient in some steps. Several processes that train together
            need this information.
        needs_statistics: Whether `learn` must be called with the training images after the training.
        on_pooled_features: Whether loss, logits and score use the feature map only through its mean over the cells, so
            that the method can be trained on pooled features (B, C, 1, 1) of a backbone that does not change.
        learns_at_once: Whether the method has no loss and nothing to train by gradient: `learn` computes all of it from
            the features of the training images, so it needs a backbone that is trained already.

    Raises:
        ValueError: If there are fewer than two classes.
    """

    name: ClassVar[str] = "method"
    views: ClassVar[int] = 1
    needs_outliers: ClassVar[bool] = False
    uses_outliers: ClassVar[bool] = False
    outlier_share: ClassVar[float] = 1.0
    partial_gradients: ClassVar[bool] = False
    needs_statistics: ClassVar[bool] = False
    on_pooled_features: ClassVar[bool] = False
    learns_at_once: ClassVar[bool] = False

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        check(num_classes >= 2, f"{self.name} needs at least two known classes; got {num_classes}")
        self.num_features = num_features
        self.num_classes = num_classes

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss to minimise: features (B, C, h, w), labels (B,) int64 -> scalar.

        Raises:
            ValueError: If the method has no loss, see `learns_at_once`.
        """
        self.check_loss()
        raise NotImplementedError

    def logits(self, features: Tensor) -> Tensor:
        """Return the class logits: features (B, C, h, w) -> (B, K)."""
        raise NotImplementedError

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return the unknown scores: features (B, C, h, w) -> (B,) float32, higher = more unknown."""
        raise NotImplementedError

    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the evidence for the labels at each place: (B, C, h, w), (B,) -> (B, h, w) in 0..1, no gradient."""
        raise NotImplementedError

    def prepare(self, backbone: nn.Module, image_size: int) -> None:
        """Read or change the backbone. This is called once, before everything else.

        Args:
            backbone: The backbone, see `backmix.models.Backbone`.
            image_size: The side of the images in pixels.
        """

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the feature map (B, C, h, w) of the first view of a batch, and the scalar loss of a training step.

        Methods that use other images than those of the batch, or layers before the feature map, override this function.
        """
        features = backbone(batch.images)
        return features, batch.weighted(lambda labels: self.loss(features, labels))

    def respond(self, backbone: Images2Features, images: Tensor) -> Response:
        """Return the outputs for images (B, 3, H, W).

        Methods whose score uses other versions of an image, for example rotated ones, override this function.
        """
        features = backbone(images)
        return Response(self.logits(features).float(), self.pooled(features), self.unknown_score(features).float())

    @torch.no_grad()
    def pooled(self, features: Tensor) -> Tensor:
        """Return the pooled features, which detectors use: (B, C, h, w) -> (B, C) float32."""
        return features.float().mean((2, 3))

    def learn(self, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Compute statistics after the training, if `needs_statistics`.

        Args:
            batches: A function of which each call iterates once over the training images without augmentation, in
                evaluation mode. It yields pairs of feature maps (B, C, h, w) float32 and labels (B,) int64, without
                gradient.
        """

    def rate(self, progress: float, schedule: Callable[[float], float]) -> float:
        """Return the learning rate of a step, as a share of the largest learning rate.

        Methods that train in several parts override this function.

        Args:
            progress: The share of the training that is done, 0..1.
            schedule: The schedule of the training: a function from a progress 0..1 to a share of the largest rate.
        """
        return schedule(progress)

    def own_optimizer(self) -> torch.optim.Optimizer | None:
        """Return a second optimiser, for parameters that the main optimiser must not change, or None.

        An example is the parameters of an adversary.
        """
        return None

    @classmethod
    def check_loss(cls) -> None:
        """Raise ValueError, with the method's name, if the method has no loss, see `learns_at_once`."""
        if cls.learns_at_once:
            raise ValueError(
                f"{cls.name} has no loss, so no weights can be trained with it: it is computed at once from features "
                "of published weights. Take --train head, without --epochs and --budget, or another method"
            )

    def check(self, features: Tensor, labels: Tensor) -> None:
        """Raise ValueError, with the method's name, unless features and labels are valid and fit together."""
        self.check_features(features)
        try:
            check_labels(labels, len(features), self.num_classes)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None

    def check_features(self, features: Tensor) -> None:
        """Raise ValueError, with the method's name, unless features are (B, C, h, w) with C = `num_features`."""
        if features.ndim != 4 or features.shape[1] != self.num_features:
            raise ValueError(
                f"{self.name} takes feature maps (B, {self.num_features}, h, w) before pooling; "
                f"got {tuple(features.shape)}"
            )

    def check_outliers(self, batch: TrainingBatch) -> Tensor:
        """Return the outliers of a batch, or raise ValueError, with the method's name, if the batch has none."""
        if batch.outliers is None:
            raise ValueError(
                f"{self.name} learns from images of no known class and was given none. Give --outliers DATA, a data "
                "set of such images, or --outliers backgrounds, the training images with their objects masked."
            )
        return batch.outliers
