"""The base class of all detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from backmix.data.preprocess import Preprocess
    from backmix.detectors.training_outputs import TrainingOutputs
    from backmix.methods import Method


class Detector:
    """A post-hoc unknown score on a trained network.

    Call `attach` first, then `fit` or `fit_kept` if `needs_fitting`, and then the detector itself, or `score_images` if
    `needs_images`.

    Attributes:
        needs_fitting: Whether the detector must be fitted before it can score images.
        needs_images: Whether the detector takes images through `score_images`, instead of the outputs of the network.
        caution: After fitting, a sentence that says why the scores cannot be relied on; empty if there is no reason.
    """

    needs_fitting: bool = False
    needs_images: bool = False
    caution: str = ""

    def attach(self, method: Method, backbone: nn.Module, preprocess: Preprocess) -> None:
        """Take the parts of the network that the detector needs beside its outputs, for example the linear head.

        Args:
            method: The method, in evaluation mode.
            backbone: The backbone, in evaluation mode: normalised images (B, 3, H, W) -> feature map (B, C, h, w).
            preprocess: The normalisation of the images.

        Raises:
            ValueError: If the network does not have the part that the detector needs.
        """

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Fit the detector on known training images: logits (N, K), pooled features (N, C), labels (N,) int64."""

    def fit_kept(self, kept: TrainingOutputs) -> None:
        """Fit the detector on the kept outputs of known training images.

        Detectors that need more than the arguments of `fit` override this function.

        Args:
            kept: The outputs that were kept of the training images.

        Raises:
            ValueError: If the kept outputs do not contain the values that the detector needs.
        """
        self.fit(kept.logits, kept.features.float(), kept.labels)

    def __call__(self, logits: Tensor, features: Tensor) -> Tensor:
        """Return the unknown scores (B,), higher = more unknown, of logits (B, K) and pooled features (B, C)."""
        raise NotImplementedError

    def score_images(self, images: Tensor) -> Tensor:
        """Return the unknown scores (B,), higher = more unknown, of normalised images (B, 3, H, W).

        Only detectors with `needs_images` have this.
        """
        raise NotImplementedError

    def decide(self, logits: Tensor, features: Tensor) -> Tensor | None:
        """Return the answers (B,) int64, -1 for unknown, of the detector's own rule, which needs no threshold.

        Return None if the detector has no such rule.

        Args:
            logits: (B, K) class logits.
            features: (B, C) pooled features.
        """
        return None
