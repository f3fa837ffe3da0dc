"""CSSR: a small auto-encoder for each class, whose reconstruction error at each place of the feature map is a logit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backmix.methods.base import Images2Features, Method, TrainingBatch
from backmix.mixing.cam import scale_map
from backmix.mixing.checks import check

_POWER = 8
_CLIP = 100.0
_CHUNK = 16
_TINY = 1e-8
# torch 2.6 does not have `is_exporting`.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class CSSR(Method):
    """The base class of PCSSR and RCSSR (Huang et al., "Class-specific semantic reconstruction", TPAMI 2022).

    The auto-encoder of class k at cell u is `A_k(f) = W2_k tanh(W1_k f(u))`. Its error `e_k(u)` is the L1 distance
    between its output and f(u), and its logit is `l_k(u) = clip(sign * gamma * e_k(u), -100, 100)`. Softmax comes
    before the average: `p_k = mean_u softmax_k(l(u))`, and the loss is `-log p_y`. The gradient of the loss at cell u
    is `w_u (softmax_k(l(u)) - [k = y])` with `w_u = p_y(u) / sum_v p_y(v)`. So cells that do not show the class, for
    example background, have small gradients, and their wrong predictions cost little.

    The unknown score is `-(S0 + S1 + S2)`. Each part is standardised by its mean and standard deviation over the
    training images:

    - S0: the logit of the predicted class k^, mean over cells (PCSSR: divided twice by the mean of |f| at the cell).
    - S1: `mean_c a_{k^,c} f_c(u)`, mean over cells. `a_{k,c}` is the mean of |f_c| over training images that are
      predicted as k, divided by its sum over classes.
    - S2: `sum_{c,c'} G_{cc'} Gbar_{k^,cc'}`, where `G = (f^8 f^8T)^(1/8)` is summed over the cells of an image, and
      Gbar is its mean over training images that are predicted as k.

    `learn` computes all these statistics from training images without augmentation; the authors compute mean and
    deviation from augmented images. If no training image is predicted as some class, this class gets the averages over
    all images. Before `learn` the score is minus S0, not standardised.

    S1 assumes that features are 0 or more, as after a ReLU. Then a large f_c with a large a_{k,c} is evidence for the
    class. In feature maps with signs, for example those of ViT and ConvNeXt, a_{k,c} is large for either sign of f_c,
    and the sum cancels; `parts=(0, 2)` leaves S1 out. S0 and S2 do not depend on the signs.

    Memory: Gbar needs 4 K C^2 bytes in every copy of the weights, 16 MB for 16 classes and 512 channels. A training
    step needs a few tensors of B h w K C numbers. The score needs a few tensors of 16 C^2 numbers, or of B C^2 numbers
    in an exported file.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        latent: The width of the auto-encoders; 64, and 16 to 32 on ImageNet.
        gamma: The factor of the error, above 0. An error above 100 / gamma is clipped and has no gradient.
        parts: The parts S0, S1 and S2 that are summed, by number.

    Raises:
        ValueError: If there are fewer than two classes, or an option is outside its range.
    """

    needs_statistics: ClassVar[bool] = True
    sign: ClassVar[float]
    """-1: the label's auto-encoder has the smallest error; 1: it has the largest error."""

    prototypes: Tensor
    grams: Tensor
    mean: Tensor
    deviation: Tensor
    learned: Tensor

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        latent: int = 64,
        gamma: float = 0.1,
        parts: Sequence[int] = (0, 1, 2),
    ) -> None:
        super().__init__(num_features, num_classes)
        check(latent >= 1, f"{self.name} needs a latent width of at least 1; got {latent}")
        check(0 < gamma < math.inf, f"{self.name} needs gamma above 0; got {gamma}")
        if not parts or len(set(parts)) < len(parts) or not set(parts) <= {0, 1, 2}:
            raise ValueError(f"{self.name}: parts are some of 0, 1 and 2, each once; got {parts}")
        self.gamma = gamma
        self.parts = tuple(parts)
        # The weights start like those of 1x1 convolutions in torch: uniform within 1 / sqrt(inputs).
        self.encode = nn.Parameter(_uniform(num_classes, num_features, latent, inputs=num_features))
        self.decode = nn.Parameter(_uniform(num_classes, latent, num_features, inputs=latent))
        self.register_buffer("prototypes", torch.zeros(num_classes, num_features))
        self.register_buffer("grams", torch.zeros(num_classes, num_features, num_features))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("deviation", torch.ones(3))
        self.register_buffer("learned", torch.tensor(False))

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the mean of `-log p_y`: features (B, C, h, w), labels (B,) int64 -> scalar."""
        self.check(features, labels)
        return F.nll_loss(self.logits(features), labels)

    def logits(self, features: Tensor) -> Tensor:
        """Return the log of the class probabilities, so that softmax gives them: (B, C, h, w) -> (B, K) float32."""
        return softmax_then_average(self.cell_logits(features))

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the feature map (B, C, h, w) and the scalar loss. Mixed labels share one pass of the auto-encoders."""
        features = backbone(batch.images)
        logs = self.logits(features)

        def loss(labels: Tensor) -> Tensor:
            self.check(features, labels)
            return F.nll_loss(logs, labels)

        return features, batch.weighted(loss)

    def cell_logits(self, features: Tensor) -> Tensor:
        """Return the logit of each class at each cell: features (B, C, h, w) -> (B, K, h, w) float32 in -100..100."""
        self.check_features(features)
        batch, channels, height, width = features.shape
        with torch.autocast(features.device.type, enabled=False):
            cells = features.float().permute(0, 2, 3, 1).reshape(1, -1, channels)
            hidden = torch.tanh(cells @ self.encode.float())
            # (K, B h w, C): the output of the auto-encoder minus its input.
            errors = (
                torch.baddbmm(cells.expand(self.num_classes, -1, -1), hidden, self.decode.float(), beta=-1).abs().sum(2)
            )
            logits = (self.sign * self.gamma * errors).clamp(-_CLIP, _CLIP)
        return logits.reshape(self.num_classes, batch, height, width).transpose(0, 1)

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return minus the sum of the standardised parts: (B, C, h, w) -> (B,) float32, higher = more unknown."""
        parts = self.score_parts(features)
        standard = ((parts - self.mean) / (self.deviation + _TINY))[:, list(self.parts)].sum(1)
        return -torch.where(self.learned, standard, parts[:, 0])

    def score_parts(self, features: Tensor) -> Tensor:
        """Return S0, S1 and S2, not standardised, larger = more known: features (B, C, h, w) -> (B, 3) float32."""
        cells = self.cell_logits(features)
        predicted = softmax_then_average(cells).argmax(1)
        own = _of_class(cells, predicted)
        features = features.float()
        first = self.first_part(own, features.abs().mean(1)).mean((1, 2))
        second = (self.prototypes[predicted] * features.mean((2, 3))).mean(1)
        if _is_exporting():  # An export would fix the number of pieces, and so the number of images.
            third = self._third_part(features, predicted)
        else:  # A few images at a time keep the tensor (B, C, C) small.
            pieces = zip(features.split(_CHUNK), predicted.split(_CHUNK), strict=True)
            third = torch.cat([self._third_part(some, classes) for some, classes in pieces])
        return torch.stack([first, second, third], 1)

    def first_part(self, own: Tensor, activation: Tensor) -> Tensor:
        """Return S0 at each cell.

        Args:
            own: (B, h, w) logit of the predicted class at each cell.
            activation: (B, h, w) mean of |f| at each cell.
        """
        raise NotImplementedError

    def _third_part(self, features: Tensor, predicted: Tensor) -> Tensor:
        """Return S2: features (B, C, h, w), predicted classes (B,) -> (B,)."""
        return (gram(features) * self.grams[predicted]).sum((1, 2))

    @torch.no_grad()
    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the probability of the label times the mean of |f| at each cell, without gradient.

        The shapes are (B, C, h, w), (B,) -> (B, h, w) in 0..1. The logit is not suitable, because all errors grow with
        the strength of a cell. In PCSSR an empty cell has no error, so it would have the highest logit; in RCSSR a
        strong cell would have a high logit for all classes.
        """
        self.check(features, labels)
        cells = self.cell_logits(features).softmax(1)
        return scale_map(_of_class(cells, labels) * features.float().abs().mean(1))

    @torch.no_grad()
    def learn(self, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Compute the statistics of the score in two passes over the training images.

        The first pass computes the prototypes and the means of the Gram matrices by predicted class, the second pass
        the mean and the standard deviation of the parts.

        Raises:
            ValueError: If there are no training images.
        """
        count = self.mean.new_zeros(self.num_classes)
        strength, grams = torch.zeros_like(self.prototypes), torch.zeros_like(self.grams)
        for features, _ in batches():
            predicted = self.logits(features).argmax(1)
            count.index_add_(0, predicted, torch.ones_like(predicted, dtype=count.dtype))
            strength.index_add_(0, predicted, features.float().abs().mean((2, 3)))
            for some, classes in zip(features.split(_CHUNK), predicted.split(_CHUNK), strict=True):
                grams.index_add_(0, classes, gram(some))
        if not count.sum() > 0:
            raise ValueError(f"{self.name} standardises its score by the training images and was given none")
        strength, grams = _class_means(strength, count), _class_means(grams, count)
        total = strength.sum(0)
        # A channel that is always 0 does not distinguish the classes.
        shares = torch.where(total > 0, strength / total.clamp_min(1e-30), 1 / self.num_classes)
        self.prototypes.copy_(shares)
        self.grams.copy_(grams)
        parts = torch.cat([self.score_parts(features).cpu().double() for features, _ in batches()])
        self.mean.copy_(parts.mean(0))
        self.deviation.copy_(parts.std(0, correction=0))
        self.learned.fill_(True)


class PCSSR(CSSR):
    """CSSR in which the label's auto-encoder has the smallest error: the logit is minus the error. See `CSSR`."""

    name: ClassVar[str] = "pcssr"
    sign: ClassVar[float] = -1.0

    def first_part(self, own: Tensor, activation: Tensor) -> Tensor:
        """Return the logit, divided twice by the strength of the cell, because the error grows with the strength."""
        return own / activation.clamp_min(_TINY).square()


class RCSSR(CSSR):
    """CSSR in which the label's auto-encoder has the largest error (reciprocal): the logit is the error. See `CSSR`."""

    name: ClassVar[str] = "rcssr"
    sign: ClassVar[float] = 1.0

    def first_part(self, own: Tensor, activation: Tensor) -> Tensor:
        """Return the logit."""
        return own


def softmax_then_average(cells: Tensor) -> Tensor:
    """Return `log mean_u softmax_k(l(u))`, computed in log space: (B, K, h, w) -> (B, K)."""
    logs = cells.log_softmax(1).flatten(2)
    return logs.logsumexp(2) - math.log(logs.shape[2])


def gram(features: Tensor) -> Tensor:
    """Return `(f^8 f^8T)^(1/8)` for all pairs of channels, over the cells of each image, without gradient.

    The shapes are (B, C, h, w) -> (B, C, C) float32. The eighth power is even, so no product is negative and the root
    loses no sign. Each image is first divided by its largest value, and the result is multiplied by the square of that
    value. So nothing overflows, and the error is below a ten-thousandth of the largest entry. There is no gradient,
    because a root has none at zero.
    """
    cells = features.detach().float().abs().flatten(2)
    largest = cells.amax((1, 2), keepdim=True)
    with torch.autocast(features.device.type, enabled=False):
        powers = (cells / torch.where(largest > 0, largest, 1.0)).pow(_POWER)
        return (powers @ powers.transpose(1, 2)).pow(1 / _POWER) * largest.square()


def _of_class(cells: Tensor, classes: Tensor) -> Tensor:
    """Return the values of one class for each image: (B, K, h, w), (B,) -> (B, h, w)."""
    return cells[torch.arange(len(cells), device=cells.device), classes]


def _class_means(sums: Tensor, count: Tensor) -> Tensor:
    """Return the mean of each class, and the overall mean for classes without images: (K, ...), (K,) -> (K, ...)."""
    count = count.reshape(-1, *[1] * (sums.ndim - 1))
    return torch.where(count > 0, sums / count.clamp_min(1), sums.sum(0) / count.sum())


def _uniform(*shape: int, inputs: int) -> Tensor:
    return torch.empty(shape).uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs))
