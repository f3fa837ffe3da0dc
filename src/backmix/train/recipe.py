"""How to train, as data: options with their ranges, learning rate schedules, optimisers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from backmix.models.precision import resolve_precision

OPTIMIZERS = ("sgd", "muon", "adamw")
SCHEDULES = ("one-cycle", "cosine", "cosine-restarts", "step")


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Args:
        epochs: passes over the training set.
        batch_size: images per batch and process.
        lr: largest learning rate.
        optimizer: "muon" (orthogonalised momentum for kernels and matrices, AdamW for the rest), "sgd" or "adamw".
        momentum: of SGD and Muon.
        nesterov: whether their momentum looks ahead; without momentum there is nothing to look ahead with.
        weight_decay: on weight matrices and kernels.
        decay_all: whether weights decay in biases and norms too, as plain SGD of papers' code has it.
        schedule: "one-cycle" (linear up, linear down to 0), "cosine" (linear up, cosine down to 0), "cosine-restarts"
            (cosine down to `lowest`, back to the top `restarts` times) or "step" (linear up, then x0.1 at each of
            `milestones`).
        warmup: share of the training in which the rate rises.
        milestones: of "step", as shares of the training, ascending; the default is CSSR's 120 and 190 of 200 epochs.
        restarts: of "cosine-restarts"; all periods are as long (Vaze et al., ICLR 2022: 2).
        lowest: least rate of "cosine-restarts", as a share of `lr` (Vaze et al.: 1/1000).
        ema: decay per step of the average of weights that is kept as the result; 0 keeps the last weights.
        precision: "bf16" (autocast), "fp32", or "auto": whichever this machine is quicker in. The field then holds what
            that came to.
        compile: whether torch compiles the backbone, which makes the first steps slow and the others quicker. Needs a
            C++ compiler on a CPU, Triton and a C compiler on an accelerator.
        pad: largest shift of the crop after mixing, as a share of the image's side; 0 where crops come with the data.
        flip: probability of mirroring after mixing; 0 where flips come with the data.
        padding: what a shifted crop shows beyond the border, "reflect" or "zeros".
        zoom: largest change of height and width after mixing, as a share; 0 where crops come with the data.
        jitter: strength of random saturation, contrast and brightness, 0..1.
        erase: side of the square hidden in each image (Cutout), as a share of the image's; 0 hides nothing.
        small: share of the training, from its start, in which images are shown at three quarters of their side; it
            takes about half the time there (progressive resizing). Not for networks that are tied to one size.
        clip: largest norm of the gradient; 0 for no limit.
        seed: everything random follows from it.

    Raises:
        ValueError: for an option outside its range, with its name, its range and what was given.
    """

    epochs: int = 24
    batch_size: int = 256
    lr: float = 0.2
    optimizer: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decay_all: bool = False
    schedule: str = "one-cycle"
    warmup: float = 0.2
    milestones: tuple[float, ...] = (0.6, 0.95)
    restarts: int = 2
    lowest: float = 1e-3
    ema: float = 0.998
    precision: str = "auto"
    compile: bool = False
    pad: float = 0.125
    flip: float = 0.5
    padding: str = "reflect"
    zoom: float = 0.0
    jitter: float = 0.0
    erase: float = 0.0
    small: float = 0.0
    clip: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse options outside their range, by name."""
        object.__setattr__(self, "precision", resolve_precision(self.precision))
        if isinstance(self.milestones, list):  # What JSON and YAML make of a tuple.
            object.__setattr__(self, "milestones", tuple(self.milestones))
        checks = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 2, "at least 2"),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "optimizer": (self.optimizer in OPTIMIZERS, "one of " + ", ".join(OPTIMIZERS)),
            "momentum": (0 <= self.momentum < 1, "in 0..1, below 1"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "schedule": (self.schedule in SCHEDULES, "one of " + ", ".join(SCHEDULES)),
            "warmup": (0 <= self.warmup < 1, "in 0..1, below 1"),
            "milestones": (_ascend_within_0_and_1(self.milestones), "shares of the training, ascending, within 0..1"),
            "restarts": (isinstance(self.restarts, int) and self.restarts >= 0, "a whole number, 0 or more"),
            "lowest": (0 <= self.lowest <= 1, "in 0..1"),
            "ema": (0 <= self.ema < 1, "in 0..1, below 1"),
            "pad": (0 <= self.pad < 1, "in 0..1, below 1"),
            "zoom": (0 <= self.zoom < 1, "in 0..1, below 1"),
            "jitter": (0 <= self.jitter <= 1, "in 0..1"),
            "erase": (0 <= self.erase <= 1, "in 0..1"),
            "small": (0 <= self.small <= 1, "in 0..1"),
            "flip": (0 <= self.flip <= 1, "in 0..1"),
            "padding": (self.padding in ("reflect", "zeros"), "reflect or zeros"),
            "clip": (self.clip >= 0, "0 or more"),
        }
        for name, (fits, expected) in checks.items():
            if not fits:
                raise ValueError(f"{name} is {expected}; got {getattr(self, name)!r}")

    def to_dict(self) -> dict[str, Any]:
        """All options as JSON has them, lists for tuples; `TrainOptions(**...)` takes them back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that a file holds, as JSON, and the defaults of those that did not exist when it was written.

    A new option's default is what was done before there was a choice, so that old files can be compared and resumed.
    """
    return TrainOptions().to_dict() | dict(options)


def _ascend_within_0_and_1(shares: object) -> bool:
    if not isinstance(shares, tuple) or not all(isinstance(share, int | float) for share in shares):
        return False
    return all(low < high for low, high in zip((0.0, *shares), (*shares, 1.0), strict=True))


def schedule_factor(
    name: str,
    progress: float,
    warmup: float,
    *,
    milestones: tuple[float, ...] = TrainOptions.milestones,
    restarts: int = TrainOptions.restarts,
    lowest: float = TrainOptions.lowest,
) -> float:
    """Share of the largest learning rate at `progress` 0..1 of the training; the rest as in `TrainOptions`."""
    if name == "cosine-restarts":
        # As in the closed-set paper's code, periods count from the beginning: the rise takes the place of the first
        # period's top, and ends on its curve.
        factor = _cosine_restarts(max(progress, warmup), restarts, lowest)
        return factor if progress >= warmup else lowest + (factor - lowest) * progress / warmup
    if progress < warmup:
        return progress / warmup
    done = (progress - warmup) / (1 - warmup)
    if name == "one-cycle":
        return 1 - done
    if name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return float(10.0 ** -sum(progress >= milestone for milestone in milestones))


def _cosine_restarts(progress: float, restarts: int, lowest: float) -> float:
    periods = restarts + 1
    # The end of the training is the end of the last period, not the top of another.
    done = progress * periods - min(int(progress * periods), restarts)
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * done))


def make_schedule(options: TrainOptions) -> Callable[[float], float]:
    """The schedule of these options: from progress 0..1 of the training to a share of the largest rate."""
    return partial(
        schedule_factor,
        options.schedule,
        warmup=options.warmup,
        milestones=options.milestones,
        restarts=options.restarts,
        lowest=options.lowest,
    )


def make_optimizer(
    network: nn.Module, options: TrainOptions, *, apart: torch.optim.Optimizer | None = None
) -> torch.optim.Optimizer:
    """The optimiser, with weight decay on matrices and kernels alone unless `decay_all` says otherwise.

    Muon moves hidden kernels and matrices; the first convolution, the head, biases and norms take AdamW at half the
    rate (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; implementation of timm).
    Parameters of the optimiser `apart` are left to it.
    """
    left = {id(p) for group in apart.param_groups for p in group["params"]} if apart is not None else set()
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad and id(p) not in left]
    decayed = [p for _, p in trained if p.ndim > 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {
            "params": [p for _, p in trained if p.ndim <= 1],
            "weight_decay": options.weight_decay if options.decay_all else 0.0,
        },
    ]
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.lr)
    if options.optimizer == "sgd":
        nesterov = options.nesterov and options.momentum > 0
        return torch.optim.SGD(groups, lr=options.lr, momentum=options.momentum, nesterov=nesterov)
    from timm.optim.muon import Muon

    backbone = [p for name, p in trained if p.ndim > 1 and name.startswith("backbone.")]
    hidden = {id(p) for p in backbone[1:]}
    groups[0]["params"] = [p for p in decayed if id(p) in hidden]
    groups[1]["use_fallback"] = True
    rest = [p for p in decayed if id(p) not in hidden]
    groups.append({"params": rest, "weight_decay": options.weight_decay, "use_fallback": True})
    return Muon(groups, lr=options.lr, momentum=options.momentum, nesterov=options.nesterov, fallback_lr_scale=0.5)
