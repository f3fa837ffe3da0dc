"""NegCosSch: cross-entropy with a temperature that rises during the training."""

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
    """A softmax classifier that is trained on `logits / T`, with a temperature T that depends on the progress.

    Source: Kundu et al., "Modulated representation learning", 2025 (ICLR 2026). With a low temperature, the network
    learns features that distinguish single images, and pushes unknown images away. With a high temperature, it groups
    the images of each class. So T rises. Logits, score and evidence are the same as in `Softmax`: T is used only in the
    loss, and an answer costs no more time.

    t- and t+ are the lowest and the highest temperature, p is the share of the training that is done, and P is the
    period. The schedules are:

    - monotonic: `T = t- + (t+ - t-) / 2 * (1 - cos(pi p))`. This is the default, and the paper's figures use it.
    - negcos: `T = t- + (t+ - t-) / 2 * (1 + cos(2 pi p / P - pi))` while `p <= 1 - P / 2`, then t+.
    - cosine: `T = t- + (t+ - t-) / 2 * (1 + cos(2 pi p / P))` to the end. It begins high, falls and rises again.
    - constant: `T = sqrt(t- t+)`, for comparison. It is the temperature t from which the paper takes its bounds t / 2
      and 2 t.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        schedule: The schedule: "monotonic", "negcos", "cosine" or "constant".
        low: The lowest temperature t-, above 0; 0.5 in the paper's code for cross-entropy.
        high: The highest temperature t+, at least `low`; 2.0 in the paper's code for cross-entropy.
        period: The period P of negcos and cosine, as a share of the training, above 0 and at most 1; a third in the
            paper's code, 200 of 600 epochs.
        label_smoothing: The label smoothing, see `Softmax`.
        bias: Whether the head has a bias.

    Raises:
        ValueError: If there are fewer than two classes, or an option is outside its range.
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
        """Return the temperature T at a progress of 0..1."""
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
        """Return the mean cross-entropy at the final temperature: (B, C, h, w), labels (B,) int64 -> scalar."""
        return self.loss_at(features, labels, self.temperature(1.0))

    def loss_at(self, features: Tensor, labels: Tensor, temperature: float) -> Tensor:
        """Return the mean cross-entropy of `logits / temperature`: (B, C, h, w), labels (B,) int64 -> scalar."""
        self.check(features, labels)
        smoothing = min(1.0, self.label_smoothing * self.num_classes / (self.num_classes - 1))
        return F.cross_entropy(self.logits(features) / temperature, labels, label_smoothing=smoothing)

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the feature map (B, C, h, w) and the scalar loss, at the temperature of `batch.progress`."""
        features = backbone(batch.images)
        temperature = self.temperature(batch.progress)
        return features, batch.weighted(lambda labels: self.loss_at(features, labels, temperature))
