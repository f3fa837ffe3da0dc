"""The options of a training with their ranges, the learning rate schedules and the optimisers."""

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


SMALLER = 0.75  # The side of the images in the first part of a training, see `TrainOptions.small`, as a share.


@dataclass(frozen=True)
class TrainOptions:
    """The options of a training.

    Args:
        epochs: The number of passes over the training set.
        batch_size: The number of images per batch and process.
        lr: The largest learning rate.
        optimizer: "muon" (orthogonalised momentum for kernels and matrices, AdamW for the rest), "sgd" or "adamw".
        momentum: The momentum of SGD and Muon.
        nesterov: Whether SGD and Muon use Nesterov momentum. SGD without momentum ignores it.
        weight_decay: The weight decay of weight matrices and kernels.
        decay_all: Whether biases and norms have weight decay too, as plain SGD in the code of papers does.
        schedule: "one-cycle" (linear up, linear down to 0), "cosine" (linear up, cosine down to 0), "cosine-restarts"
            (cosine down to `lowest`, back to the top `restarts` times) or "step" (linear up, then x0.1 at each of
            `milestones`).
        warmup: The share of the training in which the learning rate rises.
        milestones: The milestones of "step", as ascending shares of the training. The default is that of CSSR, epochs
            120 and 190 of 200.
        restarts: The number of restarts of "cosine-restarts". All periods have the same length (Vaze et al., ICLR 2022:
            2 restarts).
        lowest: The lowest learning rate of "cosine-restarts", as a share of `lr` (Vaze et al.: 1/1000).
        ema: The decay per step of the average of the weights that is kept as the result; 0 keeps the last weights.
        precision: "bf16" (autocast), "fp32" or "auto". With "auto", the field is set to the one that is faster on this
            machine.
        compile: Whether torch compiles the backbone, which makes the first steps slower and the others faster. It needs
            a C++ compiler on a CPU, and Triton and a C compiler on an accelerator.
        pad: The largest shift of the crop after mixing, as a share of the side of the image; 0 if the data are already
            cropped.
        flip: The probability of mirroring after mixing; 0 if the data are already flipped.
        padding: The content of a shifted crop beyond the border, "reflect" or "zeros".
        zoom: The largest change of height and width after mixing, as a share; 0 if the data are already cropped.
        jitter: The strength of random changes of saturation, contrast and brightness, 0..1.
        erase: The side of the square that is hidden in each image (Cutout), as a share of the side of the image; 0
            hides nothing.
        small: The share of the training, from its start, in which images are shown at three quarters of their side.
            These steps take about half the time (progressive resizing). Networks that need one fixed size do not
            support it.
        clip: The largest norm of the gradient; 0 for no limit.
        freeze_norm: Whether batch norms normalise by their running statistics, which stay as they are. This is for
            published weights: statistics of small batches of other images would spoil them.
        seed: The seed of all random numbers.

    Raises:
        ValueError: If an option is outside its range. The message has its name, its range and the given value.
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
    freeze_norm: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError if an option is outside its range."""
        object.__setattr__(self, "precision", resolve_precision(self.precision))
        if isinstance(self.milestones, list):  # JSON and YAML read a tuple as a list.
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
        """Return all options as values for JSON, with lists for tuples. `TrainOptions(**...)` accepts them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were read from a JSON file, with defaults for options that the file does not contain.

    The default of a new option is the behaviour before the option existed, so old files can be compared and resumed.
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
    """Return the learning rate at a progress of the training, as a share of the largest learning rate.

    Args:
        name: The name of the schedule, as in `TrainOptions`.
        progress: The share of the training that is done, 0..1.
        warmup: See `TrainOptions`.
        milestones: See `TrainOptions`.
        restarts: See `TrainOptions`.
        lowest: See `TrainOptions`.
    """
    if name == "cosine-restarts":
        # As in the code of the closed-set paper, periods count from the beginning: the rise replaces the top of the
        # first period, and ends on the curve of that period.
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
    # The end of the training is the end of the last period, not the top of one more period.
    done = progress * periods - min(int(progress * periods), restarts)
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * done))


def make_schedule(options: TrainOptions) -> Callable[[float], float]:
    """Return the schedule of these options: a function from the progress 0..1 to a share of the largest rate."""
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
    """Make the optimiser of a network. Only matrices and kernels have weight decay, unless `decay_all` is set.

    Muon trains the hidden kernels and matrices; the first convolution, the head, biases and norms use AdamW at half the
    rate (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; implementation of timm).

    Args:
        network: The network to train.
        options: The training options.
        apart: Another optimiser, whose parameters are left out of this one.
    """
    excluded = {id(p) for group in apart.param_groups for p in group["params"]} if apart is not None else set()
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad and id(p) not in excluded]
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
