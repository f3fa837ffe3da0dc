"""The division of the images of a source into images to train on, to calibrate on and to test on."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from backmix.data.group_split import split_groups
from backmix.data.known import holdout_split
from backmix.data.seeds import seed_of
from backmix.errors import DataError, some_of


@dataclass(frozen=True)
class Split:
    """The positions of the images of a source for each purpose, (M,) int64 each.

    Attributes:
        train: The images to train on.
        held: The images held out for calibration.
        test: The images to test on.
    """

    train: Tensor
    held: Tensor
    test: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))


def auto_holdout(images: int) -> float:
    """Return the share to hold out for calibration: about 200 images, but between 5 and 20 %."""
    return min(0.2, max(0.05, 200 / max(1, images)))


def divide(
    labels: Tensor,
    classes: list[str],
    hold_out: bool,
    share: float | None,
    test_share: float,
    groups: Tensor | None,
    seed: int,
) -> Split:
    """Divide the known images of each class into images to train on, to calibrate on and to test on.

    Args:
        labels: (N,) int64, the known class of each image, -1 for others.
        classes: The names of the known classes.
        hold_out: Whether images are held out to calibrate on.
        share: The share of each class that is held out; None: see `auto_holdout`.
        test_share: The share of each class to test on.
        groups: (N,) int64, the group of each image. Images of one group stay together; None: every image is a group.
        seed: The seed of the division.

    Returns:
        The positions of the images for each purpose.

    Raises:
        DataError: If a known class has too few images to train and to calibrate on, or no class can be tested.
    """
    if groups is None and not test_share:
        return split_known(labels, classes, hold_out, share, seed)
    return split_apart(labels, classes, hold_out, share, test_share, groups, seed)


def split_known(labels: Tensor, classes: list[str], hold_out: bool, share: float | None, seed: int) -> Split:
    """Divide the known images of each class into images to train on and images to hold out.

    Raises:
        DataError: If a known class has no image, or only one image although some must be held out.
    """
    known = (labels >= 0).nonzero()[:, 0]
    counts = torch.bincount(labels[known], minlength=len(classes))
    check_counts(classes, counts.tolist(), hold_out)
    if not hold_out:
        return Split(known, known[:0])
    share = auto_holdout(len(known)) if share is None else share
    if not 0 < share < 1:
        raise ValueError(f"the held-out share lies between 0 and 1; got {share}")
    generator = torch.Generator().manual_seed(seed_of(seed, "holdout"))
    train_rows, held_rows = holdout_split(labels[known], share, generator)
    return Split(known[train_rows], known[held_rows])


def split_apart(
    labels: Tensor,
    classes: list[str],
    hold_out: bool,
    share: float | None,
    test_share: float,
    groups: Tensor | None,
    seed: int,
) -> Split:
    """Divide the known images of each class as `divide` does, and keep every group together.

    A class that has too few images or groups for all purposes has none to test on, or none to calibrate on either.

    Raises:
        DataError: As in `divide`, or if no group is left to calibrate on.
    """
    known = (labels >= 0).nonzero()[:, 0]
    counts = torch.bincount(labels[known], minlength=len(classes))
    check_counts(classes, counts.tolist(), hold_out)
    if test_share and int(counts.max()) < 2 + hold_out:
        raise DataError(
            f"no class has {2 + hold_out} images, so none can be tested. Add images, or keep none for a test "
            "(--test-share 0)."
        )
    share = auto_holdout(len(known)) if share is None else share
    shares = [share] * hold_out + [test_share] * (test_share > 0)
    generator = torch.Generator().manual_seed(seed_of(seed, "holdout"))
    of = torch.arange(len(labels)) if groups is None else groups
    parts = [known[rows] for rows in split_groups(labels[known], of[known], shares, generator)]
    nothing = known[:0]
    if hold_out and not len(parts[1]):
        raise DataError(
            "there is nothing to calibrate on: the images of every class are near-duplicates of one another. Add other "
            "images, or divide these all the same (--no-near-duplicates)."
        )
    held = parts[1] if hold_out else nothing
    return Split(parts[0], held, parts[-1] if test_share else nothing)


def check_counts(classes: list[str], counts: list[int], hold_out: bool) -> None:
    """Raise DataError if a known class has no image to train on, or none to calibrate on beside it.

    Args:
        classes: The names of the known classes.
        counts: The number of images of each.
        hold_out: Whether images are held out to calibrate on.
    """
    few = [f"{name} ({count})" for name, count in zip(classes, counts, strict=True) if count < 1 + hold_out]
    if few:
        need = "two images, one of them to calibrate on" if hold_out else "an image to train on"
        how = "Add images, or leave such classes out (--min-images 2)" if hold_out else "Leave such classes out"
        raise DataError(f"every known class needs at least {need}; too few in: {some_of(few)}. {how}.")


def repeat_rare(labels: Tensor, positions: Tensor) -> Tensor:
    """Repeat the positions of images of rare classes.

    An image of a class of n images is repeated about sqrt(largest / n) times, where `largest` is the size of the
    largest class. That is half of the way to equally many images of every class (square-root sampling: Mahajan et al.,
    ECCV 2018).

    Args:
        labels: (N,) int64, the known class of each image, -1 for others.
        positions: (M,) int64, the positions of the images to train on.

    Returns:
        (at least M,) int64, positions that hold each given position at least once.
    """
    counts = torch.bincount(labels[positions]).clamp(min=1)
    times = (counts.max() / counts).sqrt().round().long()
    return positions.repeat_interleave(times[labels[positions]])
