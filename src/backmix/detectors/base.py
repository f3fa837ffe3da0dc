"""What every detector offers, and the check that those on logits share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from backmix.data.preprocess import Preprocess
    from backmix.detectors.training_outputs import TrainingOutputs
    from backmix.methods import Method


class Detector:
    """A post-hoc unknown score on a trained network: `attach` and `fit` where it needs them, then call.

    Attributes:
        needs_fitting: whether it scores only after `fit`.
        needs_images: whether it looks at images, and is called as `score_images`, instead of the network's outputs.
    """

    needs_fitting: bool = False
    needs_images: bool = False

    def attach(self, method: Method, backbone: nn.Module, preprocess: Preprocess) -> None:
        """Take from the network what the detector looks at beside its outputs, such as the linear head.

        Args:
            method: in evaluation mode.
            backbone: normalised images (B, 3, H, W) -> feature map (B, C, h, w), in evaluation mode.
            preprocess: how images are normalised.

        Raises:
            ValueError: where the network has none of it.
        """

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Learn from known training images: logits (N, K), pooled features (N, C), labels (N,) int64."""

    def fit_kept(self, kept: TrainingOutputs) -> None:
        """Learn from what is kept of known training images; detectors that look at more than `fit` takes replace this.

        Raises:
            ValueError: where it does not hold what the detector looks at.
        """
        self.fit(kept.logits, kept.features.float(), kept.labels)

    def __call__(self, logits: Tensor, features: Tensor) -> Tensor:
        """Unknown scores (B,), higher = more unknown, of logits (B, K) and pooled features (B, C)."""
        raise NotImplementedError

    def score_images(self, images: Tensor) -> Tensor:
        """Unknown scores (B,), higher = more unknown, of normalised images (B, 3, H, W), where `needs_images`."""
        raise NotImplementedError

    def decide(self, logits: Tensor, features: Tensor) -> Tensor | None:
        """Answers (B,) int64, -1 for unknown, where the detector has a rule of its own that needs no threshold.

        None where it has none.
        """
        return None
