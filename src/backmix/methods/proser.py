"""PROSER: extra outputs that stand for the unknown, learnt from images mixed at a middle layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backmix.methods.base import Images2Features, Method, TrainingBatch
from backmix.methods.pooling import pooled_linear
from backmix.mixing.cam import class_activation_map
from backmix.mixing.checks import check

_NEVER = -1e9


class PROSER(Method):
    """A linear head with `dummies` outputs beside those of the K classes.

    Zhou et al., "Learning placeholders for open-set recognition", CVPR 2021. The paper fine-tunes a trained
    network; here one training does both. Up to the share `start` of it the loss is cross-entropy over the K classes.
    Then, with z the class logits and d those of the dummies,

    - l1 = CE([z, d], K) on the first half of the batch, mixed at a middle layer: `b h + (1 - b) h[permuted]`, one
      b ~ Beta(1, 1) for the batch. What lies between classes belongs to the (first) dummy.
    - l2 = CE([z, d], y) on the second half.
    - l3 = CE([z without its own class, max d], K) on the second half: the dummy comes second.

    and the loss is `0.01 l1 + l2 + l3`. The middle layer is the last but one of `backbone.stages_inside()`; of more
    than five, such as the blocks of a transformer, it is the one at two thirds. A network that names fewer than two has
    its feature map mixed. A batch of one image has no first half and goes without l1.

    The paper's last part has a constant rate, a hundredth of the first part's largest, which is `tuning_rate=0.01`. By
    default the schedule goes on instead: the hundredth is SGD's, over thousands of steps, and under an optimiser whose
    steps do not grow with the gradient, such as Adam, a short last part at that rate leaves the dummy where it began.

    Args:
        num_features: channels C of the feature map.
        num_classes: known classes K, at least 2.
        dummies: outputs for the unknown; 1 in the authors' code for CIFAR-10, up to 5 in the paper.
        start: share of the training, 0..1, that is done when the placeholder losses set in.
        weights: of l1, l2 and l3.
        same_class: whether images of one class may be mixed with each other, as in the authors' code. The paper's
            text mixes different classes only: False leaves such pairs out of l1.
        temperature: of the score.
        tuning_rate: constant learning rate after `start`, as a share of the largest, above 0 and at most 1 (paper:
            0.01); the schedule then runs to its end before `start`. None: one schedule for the whole training.

    Raises:
        ValueError: for fewer than two classes or an option outside its range; in training when the backbone's middle
            layer cannot be mixed.
    """

    name: ClassVar[str] = "proser"

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        dummies: int = 1,
        start: float = 0.8,
        weights: tuple[float, float, float] = (0.01, 1.0, 1.0),
        same_class: bool = True,
        temperature: float = 1024.0,
        tuning_rate: float | None = None,
    ) -> None:
        super().__init__(num_features, num_classes)
        check(dummies >= 1, f"{self.name} needs at least one dummy; got {dummies}")
        check(0 <= start <= 1, f"{self.name}: start is a share of the training, 0..1; got {start}")
        if len(weights) != 3 or not all(weight >= 0 for weight in weights):
            raise ValueError(f"{self.name} takes three weights of at least 0, of l1, l2 and l3; got {weights}")
        check(temperature > 0, f"{self.name} needs a temperature above 0; got {temperature}")
        if tuning_rate is not None and not 0 < tuning_rate <= 1:
            raise ValueError(f"{self.name}: tuning_rate is a share of the largest rate, 0..1; got {tuning_rate}")
        self.start, self.weights = start, tuple(weights)
        self.same_class, self.temperature, self.tuning_rate = same_class, temperature, tuning_rate
        # One layer for both: every parameter has a gradient in both parts of the training.
        self.head = nn.Linear(num_features, num_classes + dummies)

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """The placeholder losses, mixing the feature map itself: features (B, C, h, w), labels (B,) -> scalar."""
        self.check(features, labels)
        half = len(features) // 2
        share, order = self._draw(features, half)
        return self._placeholders(features, _mix(features[:half], share, order), labels, order)

    def logits(self, features: Tensor) -> Tensor:
        """Class logits without the dummies: features (B, C, h, w) -> (B, K) float32."""
        return self._outputs(features)[:, : self.num_classes]

    def unknown_score(self, features: Tensor) -> Tensor:
        """How much likelier the dummy is than the likeliest class: features (B, C, h, w) -> (B,) float32.

        `q_dummy - max_k q_k` with `q = softmax([z, max d] / 1024)`, within -1..1, higher = more unknown. All q are
        nearly equal at this temperature, so the difference is not taken of two rounded numbers: it is
        `max(q_dummy, max q_k) * (1 - exp(-|gap| / 1024))` with the sign of the gap between the logits.
        """
        outputs = self._outputs(features)
        known, dummy = outputs[:, : self.num_classes], outputs[:, self.num_classes :].amax(1)
        highest = known.amax(1)
        q = (torch.cat([known, dummy[:, None]], 1) / self.temperature).softmax(1)
        gap = (dummy - highest) / self.temperature
        return q.amax(1) * -torch.expm1(-gap.abs()) * gap.sign()

    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Class activation map of the labels: (B, C, h, w), (B,) -> (B, h, w) in 0..1, without gradient."""
        self.check(features, labels)
        return class_activation_map(features, self.head.weight[: self.num_classes], labels)

    def rate(self, progress: float, schedule: Callable[[float], float]) -> float:
        """The schedule's, or with `tuning_rate` all of it up to `start` and that rate afterwards."""
        if self.tuning_rate is None:
            return schedule(progress)
        return schedule(progress / self.start) if progress < self.start else self.tuning_rate

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """One step: feature map (B, C, h, w) of the images as they are, and the scalar loss.

        In the placeholder part the first half of the batch goes through the backbone once more, mixed on its way.
        """
        features = backbone(batch.images)
        self.check(features, batch.labels)
        if batch.progress < self.start:
            logits = self.logits(features)
            return features, batch.weighted(lambda labels: F.cross_entropy(logits, labels))
        half = len(features) // 2
        share, order = self._draw(features, half)
        stages: list[nn.Module] = getattr(backbone, "stages_inside", list)()
        if len(stages) < 2 or half == 0:
            mixed = _mix(features[:half], share, order)
        else:
            with self._mixing(middle_of(stages), share, order):
                mixed = backbone(batch.images[:half])
        return features, batch.weighted(lambda labels: self._placeholders(features, mixed, labels, order))

    def _placeholders(self, features: Tensor, mixed: Tensor, labels: Tensor, order: Tensor) -> Tensor:
        """`features`, `labels` of the whole batch, `mixed` of its first half in the given order."""
        half = len(mixed)
        outputs, own = self._outputs(features[half:]), labels[half:]
        losses = [outputs.new_zeros(()), F.cross_entropy(outputs, own)]
        if half:
            between = F.cross_entropy(
                self._outputs(mixed), torch.full_like(labels[:half], self.num_classes), reduction="none"
            )
            counted = torch.ones_like(between)
            if not self.same_class:
                counted = (labels[:half] != labels[:half][order]).float()
            losses[0] = (between * counted).sum() / counted.sum().clamp_min(1)
        rivals = outputs[:, : self.num_classes].scatter(1, own[:, None], _NEVER)
        second = torch.cat([rivals, outputs[:, self.num_classes :].amax(1, keepdim=True)], 1)
        losses.append(F.cross_entropy(second, torch.full_like(own, self.num_classes)))
        return torch.stack([weight * loss for weight, loss in zip(self.weights, losses, strict=True)]).sum()

    def _outputs(self, features: Tensor) -> Tensor:
        """Logits of classes and dummies: (B, C, h, w) -> (B, K + dummies) float32."""
        self.check_features(features)
        return pooled_linear(self.head, features)

    def _draw(self, features: Tensor, half: int) -> tuple[float, Tensor]:
        """Share of the first image and the order of the second ones, from torch's global generators."""
        share = float(torch.distributions.Beta(1.0, 1.0).sample())
        return share, torch.randperm(half, device=features.device)

    @contextmanager
    def _mixing(self, layer: nn.Module, share: float, order: Tensor) -> Iterator[None]:
        """Mix what this layer gives, within the block."""
        mixed: list[Any] = []

        def hook(module: nn.Module, inputs: Any, output: Any) -> Tensor:
            mixed.append(output)
            if not isinstance(output, Tensor) or len(output) != len(order):
                raise ValueError(
                    f"{self.name} mixes what {type(module).__name__} gives and needs a tensor of {len(order)} rows; "
                    f"got {tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__}. "
                    "Use a backbone whose stages give feature maps, such as compact or resnet18."
                )
            return _mix(output, share, order)

        handle = layer.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()
        if len(mixed) != 1:
            raise ValueError(
                f"{self.name} mixes after {type(layer).__name__}, which ran {len(mixed)} times instead of once. "
                "Use a backbone whose stages run one after the other, such as compact or resnet18."
            )


def middle_of(stages: Sequence[nn.Module]) -> nn.Module:
    """The stage, of two or more, behind which images are mixed; the paper: group 2 of 3."""
    # A transformer has a stage for each block; the last but one would leave a single block to learn from mixtures.
    return stages[-2] if len(stages) <= 5 else stages[2 * len(stages) // 3 - 1]


def _mix(images: Tensor, share: float, order: Tensor) -> Tensor:
    return share * images + (1 - share) * images[order]
