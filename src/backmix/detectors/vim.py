"""How much of the features lies outside of where those of the training images lie, less the energy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from backmix.detectors.base import Detector
from backmix.detectors.blocks import ROWS, TriangularMap, centred_blocks
from backmix.detectors.linear_head import check_head, head_of, linear
from backmix.detectors.wrapped import WRAPPED
from backmix.methods.unit_features import check_features, check_training, wide_dtype

if TYPE_CHECKING:
    from backmix.data.preprocess import Preprocess
    from backmix.methods import Method

# The smallest mean residual that counts, as a share of the mean length: there is one if training images are too alike.
LEAST = torch.finfo(torch.float32).eps


class ViM(Detector):
    """The virtual logit of the residual of the features, less the log of the sum of the exponentials of the logits.

    Wang et al., "ViM: Out-of-distribution with virtual-logit matching", CVPR 2022, sections 4.1 and 4.2, with the
    scores of pytorch-ood 0.4. With W and b the weight and bias of the linear head, the origin u = -W^+ b, and R the
    C - d directions in which the mean square of x - u over the training images is smallest:

        score = a |R^T (x - u)| - log sum_k exp(z_k)        a = mean max_k z_k / mean |R^T (x - u)|

    with the means over the training images. The pseudo-inverse W^+ leaves out singular values below max(K, C) times the
    rounding of float32, 1.2e-7, as those of the rows of a head that add up to zero but for rounding.

    If the training images have no residual, it counts as 1.2e-7 of their lengths.

    The detector runs on the CPU, in float64 but for the logits of the head.

    Args:
        weight: (K, C) float weight of the linear head; None: `attach` takes it.
        bias: (K,) float bias of the linear head; None: zero.
        d: The dimension of the principal subspace, less than the number C of features. If it is more than C, C // 2 is
            taken. None: half of the smaller of C and the number of training images.

    Attributes:
        d: The dimension; None before `fit` if none was given.
        alpha: The number a. It is negative if the largest logits are, on average.

    Raises:
        ValueError: If d is negative.
    """

    needs_fitting = True

    def __init__(self, *, weight: Tensor | None = None, bias: Tensor | None = None, d: int | None = None) -> None:
        if d is not None and d < 0:
            raise ValueError(f"vim: d is the dimension of the principal subspace, 0 or more; got {d}")
        self.head: nn.Linear | None = None if weight is None else linear(weight, bias)
        self.d = self._asked = d
        self.alpha = 0.0
        self.origin: Tensor | None = None
        self.residual = TriangularMap(torch.empty(0, 0))

    def attach(self, method: Method, backbone: nn.Module, preprocess: Preprocess) -> None:
        """Take the linear head of the method, unless one was given, see `head_of`.

        Raises:
            ValueError: If the method has no linear head, or its logits are not those of its head on pooled features.
        """
        if self.head is None:
            self.head = head_of("vim", method, backbone, preprocess)

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Fit the detector on known training images: logits (N, K), pooled features (N, C), labels (N,) int64.

        Raises:
            ValueError: If there is no linear head, it does not give these logits, the shapes do not agree, a class has
                no image, a feature is not finite, or d leaves no residual.
        """
        if self.head is None:
            raise ValueError("vim: looks at a linear head: give its weight and bias, or attach it to a network")
        own = check_head("vim", self.head, logits, features)
        check_training("vim", logits, features, labels)
        plain, channels = features.detach().cpu(), features.shape[1]
        d = max(1, min(plain.shape) // 2) if self._asked is None else self._asked
        d = channels // 2 if d > channels else d
        if d == channels:
            raise ValueError(f"vim: d = {d} leaves no residual of {channels} features; give a smaller d")
        weight, bias = self.head.weight.double(), self.head.bias.double()
        rounding = max(weight.shape) * torch.finfo(torch.float32).eps
        origin = -torch.linalg.pinv(weight, rtol=rounding) @ bias
        scatter = torch.zeros(channels, channels, dtype=torch.float64)
        lengths = 0.0
        for _, rows in centred_blocks(plain, origin, torch.float64):
            scatter.addmm_(rows.T, rows)
            lengths += float(torch.linalg.vector_norm(rows, 2, 1).sum())
        directions = torch.linalg.eigh(scatter).eigenvectors[:, : channels - d]  # Those of the smallest eigenvalues.
        self.residual = TriangularMap(directions)
        self.d, self.origin = d, origin
        residuals = self._residuals(plain)
        self.alpha = float(own.amax(1).double().mean() / residuals.mean().clamp(min=LEAST * lengths / len(plain)))
        self.caution = WRAPPED["vim"].caution("vim", len(plain), logits.shape[1], channels)

    def __call__(self, logits: Tensor, features: Tensor) -> Tensor:
        """Return unknown scores (B,) float64 of logits (B, K) and pooled features (B, C).

        The score is NaN if one of the features of the image is not finite.

        Raises:
            ValueError: If `fit` was not called, the features have a wrong shape or dtype, or the linear head does not
                give these logits.
        """
        if self.head is None or self.origin is None:
            raise ValueError("vim: fit it on training images first")
        check_features("vim", features, len(self.origin))
        own = check_head("vim", self.head, logits, features)
        scores = self.alpha * self._residuals(features.detach().cpu()) - own.double().logsumexp(1)
        return scores.to(features.device, wide_dtype(features.device))

    def _residuals(self, features: Tensor) -> Tensor:
        """Return the lengths of the residuals (B,) float64."""
        assert self.origin is not None
        residuals = torch.empty(len(features), dtype=torch.float64)
        space = torch.empty(min(len(features), ROWS), self.residual.matrix.shape[1], dtype=torch.float64)
        for place, rows in centred_blocks(features, self.origin, torch.float64):
            residuals[place] = torch.linalg.vector_norm(self.residual(rows, space), 2, 1)
        return residuals
