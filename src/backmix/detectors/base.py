"""What every detector offers, and the check that those on logits share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from backmix.detectors.fitting import TrainingOutputs
    from backmix.methods import Method
    from backmix.preprocess import Preprocess


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


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64; MPS has nothing wider than float32."""
    return device.type != "mps"


def check_logits(logits: Tensor) -> Tensor:
    """Logits in the precision scores are computed in: float64, or float32 where there is nothing wider.

    Args:
        logits: (B, K) float of any dtype, K at least 2.

    Raises:
        ValueError: for another shape or dtype.
    """
    if logits.ndim != 2 or logits.shape[1] < 2 or not logits.is_floating_point():
        raise ValueError(
            "logits must be (B, K) float, one column for each of two or more known classes; "
            f"got {tuple(logits.shape)} {logits.dtype}"
        )
    return logits.to(torch.float64 if has_float64(logits.device) else torch.float32)
