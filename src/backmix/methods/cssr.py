"""CSSR: a small auto-encoder for each class at each place of the feature map; how well it rebuilds is the logit."""

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
# torch 2.6 has no is_exporting.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class CSSR(Method):
    """What PCSSR and RCSSR share. Huang et al., "Class-specific semantic reconstruction", TPAMI 2022.

    The auto-encoder of class k at cell u is `A_k(f) = W2_k tanh(W1_k f(u))`, its error `e_k(u)` the L1 distance
    between that and f(u), its logit `l_k(u) = clip(sign * gamma * e_k(u), -100, 100)`. Softmax comes before the
    average: `p_k = mean_u softmax_k(l(u))`, and the loss is `-log p_y`. Its gradient at cell u is
    `w_u (softmax_k(l(u)) - [k = y])` with `w_u = p_y(u) / sum_v p_y(v)`: cells that do not show the class, such as
    background, learn little and may stay wrong at no cost.

    The unknown score is `-(S0 + S1 + S2)`, each standardised by its mean and deviation over the training images:

    - S0: the logit of the predicted class k^, mean over cells (PCSSR: divided twice by the mean of |f| at the cell).
    - S1: `mean_c a_{k^,c} f_c(u)`, mean over cells; `a_{k,c}` is the mean of |f_c| over training images that are
      predicted as k, divided by its sum over classes.
    - S2: `sum_{c,c'} G_{cc'} Gbar_{k^,cc'}` with `G = (f^8 f^8T)^(1/8)` summed over the cells of an image and Gbar
      its mean over training images predicted as k.

    `learn` gathers all of these from un-augmented training images; the authors take mean and deviation from augmented
    ones. A class that no training image is predicted as gets the averages over all images. Before `learn` the score
    is minus S0, as it is.

    S1 takes features to be 0 or more, as behind a ReLU: there a large f_c with a large a_{k,c} speaks for the class. In
    signed feature maps, such as those of ViT and ConvNeXt, a_{k,c} is large for either sign of f_c and the sum cancels;
    `parts=(0, 2)` leaves it out. S0 and S2 do not mind signs.

    Memory: Gbar takes 4 K C^2 bytes, 16 MB for 16 classes of 512 channels, in every copy of the weights; a step holds
    a few tensors of B h w K C numbers. The score holds a few of 16 C^2, and of B C^2 in an exported file.

    Args:
        num_features: channels C of the feature map.
        num_classes: known classes K, at least 2.
        latent: width of the auto-encoders; 64, and 16 to 32 on ImageNet.
        gamma: factor of the error, above 0. An error above 100 / gamma is clipped and no longer learns.
        parts: which of S0, S1 and S2 are summed.

    Raises:
        ValueError: for fewer than two classes or an option outside its range; in `learn` without images.
    """

    needs_statistics: ClassVar[bool] = True
    sign: ClassVar[float]
    """-1: the own class rebuilds best; 1: it rebuilds worst."""

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
        # As 1x1 convolutions start in torch: uniform within 1 / sqrt(inputs).
        self.encode = nn.Parameter(_uniform(num_classes, num_features, latent, inputs=num_features))
        self.decode = nn.Parameter(_uniform(num_classes, latent, num_features, inputs=latent))
        self.register_buffer("prototypes", torch.zeros(num_classes, num_features))
        self.register_buffer("grams", torch.zeros(num_classes, num_features, num_features))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("deviation", torch.ones(3))
        self.register_buffer("learned", torch.tensor(False))

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Mean of `-log p_y`: features (B, C, h, w), labels (B,) int64 -> scalar."""
        self.check(features, labels)
        return F.nll_loss(self.logits(features), labels)

    def logits(self, features: Tensor) -> Tensor:
        """Logarithm of the class probabilities, so that softmax gives them back: (B, C, h, w) -> (B, K) float32."""
        return softmax_then_average(self.cell_logits(features))

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """One step: feature map (B, C, h, w) and the scalar loss; mixed labels share one pass of the auto-encoders."""
        features = backbone(batch.images)
        logs = self.logits(features)

        def loss(labels: Tensor) -> Tensor:
            self.check(features, labels)
            return F.nll_loss(logs, labels)

        return features, batch.weighted(loss)

    def cell_logits(self, features: Tensor) -> Tensor:
        """Logit of each class at each cell: features (B, C, h, w) -> (B, K, h, w) float32 in -100..100."""
        self.check_features(features)
        batch, channels, height, width = features.shape
        with torch.autocast(features.device.type, enabled=False):
            cells = features.float().permute(0, 2, 3, 1).reshape(1, -1, channels)
            hidden = torch.tanh(cells @ self.encode)
            # (K, B h w, C): what was rebuilt minus what was there.
            errors = torch.baddbmm(cells.expand(self.num_classes, -1, -1), hidden, self.decode, beta=-1).abs().sum(2)
            logits = (self.sign * self.gamma * errors).clamp(-_CLIP, _CLIP)
        return logits.reshape(self.num_classes, batch, height, width).transpose(0, 1)

    def unknown_score(self, features: Tensor) -> Tensor:
        """Minus the sum of the standardised parts: features (B, C, h, w) -> (B,) float32, higher = more unknown."""
        parts = self.score_parts(features)
        standard = ((parts - self.mean) / (self.deviation + _TINY))[:, list(self.parts)].sum(1)
        return -torch.where(self.learned, standard, parts[:, 0])

    def score_parts(self, features: Tensor) -> Tensor:
        """S0, S1 and S2 as they are, larger = more known: features (B, C, h, w) -> (B, 3) float32."""
        cells = self.cell_logits(features)
        predicted = softmax_then_average(cells).argmax(1)
        own = _of_class(cells, predicted)
        features = features.float()
        first = self.first_part(own, features.abs().mean(1)).mean((1, 2))
        second = (self.prototypes[predicted] * features.mean((2, 3))).mean(1)
        if _is_exporting():  # The number of pieces would be fixed, and with it that of the images.
            third = self._third_part(features, predicted)
        else:  # As few images at a time as keeps (B, C, C) small.
            pieces = zip(features.split(_CHUNK), predicted.split(_CHUNK), strict=True)
            third = torch.cat([self._third_part(some, classes) for some, classes in pieces])
        return torch.stack([first, second, third], 1)

    def first_part(self, own: Tensor, activation: Tensor) -> Tensor:
        """S0 at each cell, from the predicted class's logit and the mean of |f| there: (B, h, w) each."""
        raise NotImplementedError

    def _third_part(self, features: Tensor, predicted: Tensor) -> Tensor:
        """S2: (B, C, h, w), (B,) -> (B,)."""
        return (gram(features) * self.grams[predicted]).sum((1, 2))

    @torch.no_grad()
    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Probability of the label at each cell times the mean of |f| there: (B, C, h, w), (B,) -> (B, h, w) in 0..1.

        Without gradient. The logit will not do, as all errors grow with the strength of a cell: an empty one is rebuilt
        without error, best of all for PCSSR, and for RCSSR a strong one speaks for every class alike.
        """
        self.check(features, labels)
        cells = self.cell_logits(features).softmax(1)
        return scale_map(_of_class(cells, labels) * features.float().abs().mean(1))

    @torch.no_grad()
    def learn(self, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Gather prototypes and Gram means by predicted class, then mean and deviation of the parts: two passes."""
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
        # A channel that never answers tells no class from another.
        shares = torch.where(total > 0, strength / total.clamp_min(1e-30), 1 / self.num_classes)
        self.prototypes.copy_(shares)
        self.grams.copy_(grams)
        parts = torch.cat([self.score_parts(features).cpu().double() for features, _ in batches()])
        self.mean.copy_(parts.mean(0))
        self.deviation.copy_(parts.std(0, correction=0))
        self.learned.fill_(True)


class PCSSR(CSSR):
    """CSSR whose own class rebuilds best: the logit is minus the error. See `CSSR` for formulas and options."""

    name: ClassVar[str] = "pcssr"
    sign: ClassVar[float] = -1.0

    def first_part(self, own: Tensor, activation: Tensor) -> Tensor:
        """The logit, divided twice by the strength of the cell, which the error grows with."""
        return own / activation.clamp_min(_TINY).square()


class RCSSR(CSSR):
    """CSSR whose own class rebuilds worst (reciprocal): the logit is the error. See `CSSR`."""

    name: ClassVar[str] = "rcssr"
    sign: ClassVar[float] = 1.0

    def first_part(self, own: Tensor, activation: Tensor) -> Tensor:
        """The logit."""
        return own


def softmax_then_average(cells: Tensor) -> Tensor:
    """`log mean_u softmax_k(l(u))`, without leaving the logarithm: (B, K, h, w) -> (B, K)."""
    logs = cells.log_softmax(1).flatten(2)
    return logs.logsumexp(2) - math.log(logs.shape[2])


def gram(features: Tensor) -> Tensor:
    """`(f^8 f^8T)^(1/8)`, channels by channels, over the cells of each image: (B, C, h, w) -> (B, C, C) float32.

    The eighth power is even, so no product is negative and no sign is lost in the root. Each image is divided by its
    largest value first, and the result multiplied by its square: nothing overflows, and what is lost is below a
    ten-thousandth of the largest entry. Without gradient, which a root has not at zero.
    """
    cells = features.detach().float().abs().flatten(2)
    largest = cells.amax((1, 2), keepdim=True)
    with torch.autocast(features.device.type, enabled=False):
        powers = (cells / torch.where(largest > 0, largest, 1.0)).pow(_POWER)
        return (powers @ powers.transpose(1, 2)).pow(1 / _POWER) * largest.square()


def _of_class(cells: Tensor, classes: Tensor) -> Tensor:
    """(B, K, h, w), (B,) -> (B, h, w)."""
    return cells[torch.arange(len(cells), device=cells.device), classes]


def _class_means(sums: Tensor, count: Tensor) -> Tensor:
    """Mean for each class, the overall mean for classes without images: (K, ...), (K,) -> (K, ...)."""
    count = count.reshape(-1, *[1] * (sums.ndim - 1))
    return torch.where(count > 0, sums / count.clamp_min(1), sums.sum(0) / count.sum())


def _uniform(*shape: int, inputs: int) -> Tensor:
    return torch.empty(shape).uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs))
