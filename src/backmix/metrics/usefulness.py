"""Judge whether a classifier is of any use: does it answer better than a guess, and does it notice strange images?

This is the one place that decides it. Commands, report, app and model card show what it says, in the words of
`backmix.runs.advice`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from backmix.metrics.chance import Z95

Finding = Literal["better", "unproven", "no better"]
"""Whether a figure is above that of a guess: by more than chance, by no more than chance explains, or not at all."""

ONE_SIDED = 0.025  # A 95 % interval that lies above a value is a one-sided test at this level.
MANY = 30  # With fewer images, the number of chance agreements is not close to normal.


@dataclass(frozen=True)
class Answers:
    """The answers for images of known classes, compared with guesses.

    Attributes:
        finding: Whether the share of right answers is above that of the best guess.
        images: The number of images.
        right: The number of images that were given their class, before any rejection.
        commonest: The name of the commonest class among the images.
        guessed: The share of right answers of the best guess, 0..1: the share of the commonest class among the images,
            or one class of all the known ones if that is more.
        only: The name of the class that all images were given; None if they were given several.
    """

    finding: Finding
    images: int
    right: int
    commonest: str
    guessed: float
    only: str | None


@dataclass(frozen=True)
class Strangers:
    """How well an unknown score tells unknown images from known ones, compared with the toss of a coin.

    Attributes:
        finding: Whether AUROC is above 0.5.
        images: The number of unknown images.
        auroc: The AUROC, 0..1.
        low: The lower end of its 95 % interval.
        high: The upper end of its 95 % interval.
    """

    finding: Finding
    images: int
    auroc: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """What a test says about the use of a classifier.

    Attributes:
        answers: What it says about the answers; None if it cannot say anything, as with images of one class alone.
        strangers: What it says about the unknown score; None without known or without unknown images.
    """

    answers: Answers | None = None
    strangers: Strangers | None = None

    @property
    def useful(self) -> bool:
        """Whether nothing that was tested is as good as a guess."""
        return all(part is None or part.finding == "better" for part in (self.answers, self.strangers))

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict ready for JSON."""
        return {"useful": self.useful, **asdict(self)}

    @classmethod
    def from_dict(cls, content: object) -> Verdict:
        """Return a verdict from the content of a file. What is missing or malformed is None."""
        found = content if isinstance(content, Mapping) else {}
        return cls(_read(Answers, found.get("answers")), _read(Strangers, found.get("strangers")))


def judge(
    labels: Tensor | Sequence[int],
    predicted: Tensor | Sequence[int],
    classes: Sequence[str],
    *,
    auroc: float | None = None,
    unknown: int = 0,
) -> Verdict:
    """Judge a classifier by a test that nothing was fitted on.

    The answers are better than a guess if the number of right ones is above that of "always the commonest class" in an
    exact binomial test, or if it is above it at all and the answers go with the classes shown by more than chance: of
    images that are nearly all of one class, no classifier could do better in the first test.

    Args:
        labels: (N,) int, the known class of each image, -1 for unknown images, which are left out.
        predicted: (N,) int, the likeliest class of each image.
        classes: The names of the K known classes.
        auroc: The AUROC of the unknown score that decides, 0..1; None if it was not measured.
        unknown: The number of unknown images behind the AUROC.
    """
    true, given = torch.as_tensor(labels).long(), torch.as_tensor(predicted).long()
    given, true = given[true >= 0].cpu(), true[true >= 0].cpu()
    strangers = None
    if auroc is not None and len(true) and unknown:
        low, high = auroc_interval(auroc, len(true), unknown)
        strangers = Strangers(_finding(auroc, 0.5, low > 0.5), unknown, auroc, low, high)
    if len(classes) < 2 or len(true.unique()) < 2:
        return Verdict(None, strangers)
    shown, answered = (torch.bincount(of, minlength=len(classes)).numpy() for of in (true, given))
    images, right, most = len(true), int((true == given).sum()), int(shown.max())
    guessed = max(most / images, 1 / len(classes))
    certain = at_least(right, images, guessed) <= ONE_SIDED
    certain |= images >= MANY and agreement(shown, answered, right) > Z95
    answers = Answers(
        _finding(right / images, guessed, certain),
        images,
        right,
        classes[int(shown.argmax())],
        guessed,
        classes[int(answered.argmax())] if answered.max() == images else None,
    )
    return Verdict(answers, strangers)


def at_least(hits: int, tries: int, chance: float) -> float:
    """Return the probability of at least `hits` successes in `tries` tries of this chance each (binomial).

    Args:
        hits: The number of successes, 0..tries.
        tries: The number of tries, at least 1.
        chance: The probability of one success, above 0 and at most 1.
    """
    from scipy.special import betainc  # Commands that do not need it should not wait for its import.

    return 1.0 if hits == 0 else float(betainc(hits, tries - hits + 1, chance))


def agreement(shown: ArrayLike, answered: ArrayLike, right: int) -> float:
    """Return by how many standard deviations the right answers exceed those of answers given in a random order.

    Mean and variance are those of the number of matches when the same answers are dealt to the images at random (the
    sum over the diagonal of a multivariate hypergeometric table). The result is 0 if all answers are alike.

    Args:
        shown: (K,) the number of images of each class.
        answered: (K,) the number of images that were given each class.
        right: The number of right answers.
    """
    a, b = np.asarray(shown, dtype=np.float64), np.asarray(answered, dtype=np.float64)
    images = a.sum()
    both = a * b
    spread = (both * (images - a) * (images - b)).sum() + both.sum() ** 2 - (both**2).sum()
    if images < 2 or spread <= 0:
        return 0.0
    return float((right - both.sum() / images) / math.sqrt(spread / (images**2 * (images - 1))))


def auroc_interval(auroc: float, known: int, unknown: int) -> tuple[float, float]:
    """Return the 95 % interval of an AUROC, from the numbers of images alone.

    It holds the values whose distance from the AUROC is at most 1.96 of their own standard errors. The standard error
    is that of Hanley and McNeil (Radiology 1982); to take it at the value in question and not at the AUROC keeps the
    interval sensible for few images and near 1, as Wilson's does for a share.

    Args:
        auroc: The AUROC, 0..1.
        known: The number of known images, at least 1.
        unknown: The number of unknown images, at least 1.
    """

    def inside(value: float) -> bool:
        first, second = value / (2 - value), 2 * value**2 / (1 + value)
        square = value * (1 - value) + (unknown - 1) * (first - value**2) + (known - 1) * (second - value**2)
        return abs(auroc - value) <= Z95 * math.sqrt(max(0.0, square) / (known * unknown))

    def end(out: float) -> float:
        if inside(out):
            return out
        within = auroc
        for _ in range(50):
            middle = (within + out) / 2
            within, out = (middle, out) if inside(middle) else (within, middle)
        return within

    return end(0.0), end(1.0)


def _finding(value: float, guessed: float, certain: bool) -> Finding:
    if value <= guessed:
        return "no better"
    return "better" if certain else "unproven"


def _read(kind: Any, content: object) -> Any:
    """Return an `Answers` or `Strangers` from the content of a file; None if it is not one."""
    if not isinstance(content, Mapping):
        return None
    try:
        made = kind(**content)
    except TypeError:
        return None
    for name, of in kind.__annotations__.items():
        value = getattr(made, name)
        plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
        if name == "finding" and value not in ("better", "unproven", "no better"):
            return None
        if name in ("images", "right") and not (plain and isinstance(value, int)):
            return None
        if of == "float" and not (plain and value <= 1):
            return None
        if name in ("commonest", "only") and not isinstance(value, str | None):
            return None
    return made
