"""PROSER: extra outputs for the unknown, which are learnt from images that are mixed at a middle layer."""

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
    """A linear head with `dummies` additional outputs besides those of the K classes.

    Source: Zhou et al., "Learning placeholders for open-set recognition", CVPR 2021. The paper fine-tunes a trained
    network; here one training does both parts. Up to the share `start` of the training, the loss is cross-entropy over
    the K classes. After that, the loss is `0.01 l1 + l2 + l3`, where z are the class logits and d those of the dummies:

    - l1 = CE([z, d], K) on the first half of the batch, mixed at a middle layer: `b h + (1 - b) h[permuted]`, with one
      b ~ Beta(1, 1) for the batch. Images between classes belong to the (first) dummy.
    - l2 = CE([z, d], y) on the second half.
    - l3 = CE([z without its own class, max d], K) on the second half: the dummy should come second.

    The middle layer is the last but one of `backbone.stages_inside()`. If there are more than five stages, for example
    the blocks of a transformer, it is the stage at two thirds. If the network names fewer than two stages, the feature
    map is mixed. A batch of one image has no first half, so l1 is left out.

    In the paper, the last part has a constant learning rate, a hundredth of the largest rate of the first part; this is
    `tuning_rate=0.01`. By default the schedule goes on instead. The hundredth is meant for SGD over thousands of steps.
    With an optimiser whose steps do not grow with the gradient, such as Adam, the dummy hardly changes in a short last
    part at that rate.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        dummies: The number of outputs for the unknown, at least 1; 1 in the authors' code for CIFAR-10, up to 5 in the
            paper.
        start: The share of the training, 0..1, after which the placeholder losses begin.
        weights: The weights of l1, l2 and l3.
        same_class: Whether images of the same class may be mixed with each other, as in the authors' code. The text of
            the paper mixes only different classes; False leaves pairs of the same class out of l1.
        temperature: The temperature of the score, above 0.
        tuning_rate: The constant learning rate after `start`, as a share of the largest rate, above 0 and at most 1
            (paper: 0.01). The schedule then runs to its end before `start`. None: one schedule for the whole training.

    Raises:
        ValueError: If there are fewer than two classes, or an option is outside its range.
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
        # Classes and dummies share one layer, so every parameter has a gradient in both parts of the training.
        self.head = nn.Linear(num_features, num_classes + dummies)

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the placeholder loss with mixed feature maps: features (B, C, h, w), labels (B,) -> scalar."""
        self.check(features, labels)
        half = len(features) // 2
        share, order = self._draw(features, half)
        return self._placeholders(features, _mix(features[:half], share, order), labels, order)

    def logits(self, features: Tensor) -> Tensor:
        """Return the class logits without the dummies: features (B, C, h, w) -> (B, K) float32."""
        return self._outputs(features)[:, : self.num_classes]

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return how much likelier the dummy is than the likeliest class: features (B, C, h, w) -> (B,) float32.

        The score is `q_dummy - max_k q_k` with `q = softmax([z, max d] / 1024)`, within -1..1, higher = more unknown.
        All q are nearly equal at this temperature, and a difference of two rounded numbers would be inexact. Therefore
        it is computed as `max(q_dummy, max q_k) * (1 - exp(-|gap| / 1024))`, with the sign of the gap between the
        logits.
        """
        outputs = self._outputs(features)
        known, dummy = outputs[:, : self.num_classes], outputs[:, self.num_classes :].amax(1)
        highest = known.amax(1)
        q = (torch.cat([known, dummy[:, None]], 1) / self.temperature).softmax(1)
        gap = (dummy - highest) / self.temperature
        return q.amax(1) * -torch.expm1(-gap.abs()) * gap.sign()

    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the class activation map of the labels: (B, C, h, w), (B,) -> (B, h, w) in 0..1, without gradient."""
        self.check(features, labels)
        return class_activation_map(features, self.head.weight[: self.num_classes], labels)

    def rate(self, progress: float, schedule: Callable[[float], float]) -> float:
        """Return the rate of the schedule. With `tuning_rate`, the schedule ends at `start`, and that rate follows."""
        if self.tuning_rate is None:
            return schedule(progress)
        return schedule(progress / self.start) if progress < self.start else self.tuning_rate

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the feature map (B, C, h, w) of the images without mixing, and the scalar loss.

        In the placeholder part, the first half of the batch goes through the backbone once more and is mixed at the
        middle layer.

        Raises:
            ValueError: If the middle layer of the backbone cannot be mixed.
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
        """Return the placeholder loss.

        `features` and `labels` belong to the whole batch, `mixed` to its first half, mixed in the given order.
        """
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
        """Return the logits of classes and dummies: (B, C, h, w) -> (B, K + dummies) float32."""
        self.check_features(features)
        return pooled_linear(self.head, features)

    def _draw(self, features: Tensor, half: int) -> tuple[float, Tensor]:
        """Draw the share of the first images and the order of the second images, from torch's global generators."""
        share = float(torch.distributions.Beta(1.0, 1.0).sample())
        return share, torch.randperm(half, device=features.device)

    @contextmanager
    def _mixing(self, layer: nn.Module, share: float, order: Tensor) -> Iterator[None]:
        """Mix the output of a layer within the block."""
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
    """Return the stage, of two or more, after which images are mixed (paper: group 2 of 3)."""
    # In a transformer each block is a stage. After the last but one, only a single block would learn from mixtures.
    return stages[-2] if len(stages) <= 5 else stages[2 * len(stages) // 3 - 1]


def _mix(images: Tensor, share: float, order: Tensor) -> Tensor:
    return share * images + (1 - share) * images[order]
