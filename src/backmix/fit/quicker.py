"""Choose a quicker training where the time buys too few epochs, and say how long a training takes."""

from __future__ import annotations

from collections.abc import Callable

from backmix.fit.budget import epochs_within
from backmix.models.compact import stem_stride_for
from backmix.train.recipe import TrainOptions

LEAST_EPOCHS = 5
"""A training of fewer epochs hardly comes to anything, see `TooSlow`."""

MANY_STEPS = 400
"""The number of steps from which it is worth the time to measure how long a training takes."""

SIZES = (160, 128, 96, 64, 48, 32)
SMALLER = {"compact": "compact-s"}
_OF_SMALLER = 1 / 3  # The time of compact-s in that of compact, roughly; what is chosen is measured again.


class TooSlow(Exception):
    """The time buys fewer than `LEAST_EPOCHS` epochs of a training that may be made quicker.

    Attributes:
        epoch_seconds: The seconds of an epoch.
        left: The seconds left.
    """

    def __init__(self, epoch_seconds: float, left: float) -> None:
        super().__init__(f"an epoch takes about {epoch_seconds:.0f} s, and {max(0.0, left):.0f} s are left")
        self.epoch_seconds, self.left = epoch_seconds, left

    @property
    def times(self) -> float:
        """How many times as quick a training must be for twice `LEAST_EPOCHS` epochs, at least 1."""
        return max(1.0, 2 * LEAST_EPOCHS * self.epoch_seconds / max(1.0, self.left))


def affordable(
    epoch_seconds: float, left: float, most: int, *, alternative: bool, on_short: Callable[[float, float], object]
) -> int:
    """Return the number of epochs that fit into the time left.

    Args:
        epoch_seconds: The seconds of an epoch.
        left: The seconds left.
        most: The number of epochs that is enough.
        alternative: Whether something else can take the place of this training.
        on_short: A function that is called with both times if the epochs are few and there is no alternative.

    Raises:
        TooSlow: If they are fewer than `LEAST_EPOCHS`, and there is an alternative.
    """
    epochs = epochs_within(left, epoch_seconds, most=most)
    if epochs < min(LEAST_EPOCHS, most):
        if alternative:
            raise TooSlow(epoch_seconds, left)
        on_short(epoch_seconds, left)
    return epochs


def seconds_of(measure: Callable[..., float], options: TrainOptions, images: int) -> float | None:
    """Return the seconds that a training takes, by some timed steps; None if it has so few that timing is no use.

    Args:
        measure: A function that measures the seconds of an epoch.
        options: The training options.
        images: The number of training images.
    """
    if options.epochs * images < MANY_STEPS * options.batch_size:
        return None
    return options.epochs * measure(options, seconds=2.0)


def quicker(
    model: str, image_size: int, times: float, *, free_model: bool = True, free_size: bool = True
) -> tuple[str, int] | None:
    """Return a smaller network, smaller images, or both.

    Args:
        model: The name of the network.
        image_size: The side of the images in pixels.
        times: How many times as quick the training must be.
        free_model: Whether the network may be another one.
        free_size: Whether the images may be smaller.

    Returns:
        The network and the side of the images of the largest training that is so much quicker, or of the quickest; None
        if nothing may change, or nothing is quicker.
    """
    models = [model, SMALLER[model]] if free_model and model in SMALLER else [model]
    sizes = [image_size, *(size for size in SIZES if size < image_size)] if free_size else [image_size]
    now = work(model, image_size)
    found = [(work(name, size) / now, name, size) for name in models for size in sizes]
    less = [each for each in found if each[0] < 0.999]
    if not less:
        return None
    enough = [each for each in less if each[0] <= 1 / times]
    # Of equal work, larger images are better.
    _, name, size = max(enough, key=lambda each: (each[0], each[2])) if enough else min(less, key=lambda each: each[0])
    return name, size


def work(model: str, image_size: int) -> float:
    """Return the work of an image, in units that compare networks and sizes; it is rough.

    The compact networks look at large images in larger steps, so it follows the grid after their first layer.
    """
    if model.startswith("compact"):
        grid = image_size / stem_stride_for(image_size)
        return (_OF_SMALLER if model == "compact-s" else 1.0) * grid**2
    return float(image_size**2)


def time_in_words(seconds: float) -> str:
    """Return a time in words, as people guess it: "20 s", "3 min", "2 h 10 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
