"""NegCosSch: cross-entropy whose temperature rises while the network trains."""

from __future__ import annotations

import math
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from backmix.methods.base import Images2Features, TrainingBatch
from backmix.methods.softmax import Softmax
from backmix.mixing.checks import check

SCHEDULES = ("monotonic", "negcos", "cosine", "constant")


class NegCosSch(Softmax):
    """Softmax classifier trained on `logits / T`, with a temperature T that follows the progress of the training.

    Kundu et al., "Modulated representation learning", 2025 (ICLR 2026). A low temperature learns what tells images
    apart and pushes unknown ones away; a high one draws each class together. So T goes up. Logits, score and evidence
    are those of `Softmax`: T is in the loss alone, and an answer costs what it did before.

    With t- and t+ the lowest and highest temperature, p the share of the training that is done and P the period:

    - monotonic: `T = t- + (t+ - t-) / 2 * (1 - cos(pi p))`. The default: the paper's published figures are of this one.
    - negcos: `T = t- + (t+ - t-) / 2 * (1 + cos(2 pi p / P - pi))` while `p <= 1 - P / 2`, then t+.
    - cosine: the same without `- pi`, to the end: it begins high, falls and rises again.
    - constant: `sqrt(t- t+)`, the temperature that the paper's bounds t / 2 and 2 t come from; to compare with.

    Args:
        num_features: channels C of the feature map.
        num_classes: known classes K, at least 2.
        schedule: monotonic, negcos, cosine or constant.
        low: t-, above 0; 0.5 in the paper's code for cross-entropy.
        high: t+, at least `low`; 2.0 there.
        period: P as a share of the training, above 0 and at most 1, for negcos and cosine; a third in the paper's code,
            200 of 600 epochs.
        label_smoothing: see `Softmax`.
        bias: whether the head has a bias.

    Raises:
        ValueError: for fewer than two classes or an option outside its range.
    """

    name: ClassVar[str] = "negcossch"

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        schedule: str = "monotonic",
        low: float = 0.5,
        high: float = 2.0,
        period: float = 1 / 3,
        label_smoothing: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, num_classes, label_smoothing=label_smoothing, bias=bias)
        check(schedule in SCHEDULES, f"{self.name} has no schedule {schedule!r}; there are {', '.join(SCHEDULES)}")
        check(0 < low <= high < math.inf, f"{self.name} needs temperatures 0 < low <= high; got low={low}, high={high}")
        check(0 < period <= 1, f"{self.name}: period is a share of the training, above 0 and at most 1; got {period}")
        self.schedule = schedule
        self.low, self.high, self.period = low, high, period

    def temperature(self, progress: float) -> float:
        """Temperature T when this share (0..1) of the training is done."""
        if self.schedule == "constant":
            return math.sqrt(self.low * self.high)
        if self.schedule == "monotonic":
            wave = -math.cos(math.pi * progress)
        else:
            shift = 1 if self.schedule == "negcos" else 0
            if progress > 1 - shift * self.period / 2:
                return self.high
            wave = math.cos(2 * math.pi * progress / self.period - shift * math.pi)
        return self.low + (self.high - self.low) * (1 + wave) / 2

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy at the last temperature: features (B, C, h, w), labels (B,) int64 -> scalar."""
        return self.loss_at(features, labels, self.temperature(1.0))

    def loss_at(self, features: Tensor, labels: Tensor, temperature: float) -> Tensor:
        """Mean cross-entropy of `logits / temperature`: features (B, C, h, w), labels (B,) int64 -> scalar."""
        self.check(features, labels)
        smoothing = min(1.0, self.label_smoothing * self.num_classes / (self.num_classes - 1))
        return F.cross_entropy(self.logits(features) / temperature, labels, label_smoothing=smoothing)

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """One step at the temperature of `batch.progress`: feature map (B, C, h, w) and the scalar loss."""
        features = backbone(batch.images)
        temperature = self.temperature(batch.progress)
        return features, batch.weighted(lambda labels: self.loss_at(features, labels, temperature))
