"""The measured cells of a study, and the figures that are read from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backmix.study.plan import middle_prior, parts_of, strong_prior
from backmix.study.trainings import PLAIN

SCORE = "max_logit"
Figure = Callable[[Mapping[str, Any]], float | None]


class Results:
    """The cells of a study that were measured.

    Args:
        study: The content of study.json.
    """

    def __init__(self, study: Mapping[str, Any]) -> None:
        self.priors: list[float] = study["setting"]["priors"]
        self.parts = parts_of(self.priors, study["setting"]["parts"])
        self.cells: list[dict[str, Any]] = [cell for cell in study["cells"] if not cell.get("left_out")]
        self.middle, self.strong = middle_prior(self.priors), strong_prior(self.priors)

    def seeds(self, training: str, prior: float | None) -> dict[int, dict[str, Any]]:
        """Return the cells of a training at a prior by seed."""
        return {cell["seed"]: cell for cell in self.cells if cell["training"] == training and cell["prior"] == prior}

    def there(self, trainings: Sequence[str], prior: float | None) -> list[str]:
        """Return the trainings, of those given, that have a cell at a prior."""
        return [name for name in trainings if self.seeds(name, prior)]

    def values(self, training: str, prior: float | None, figure: Figure) -> list[float]:
        """Return a figure for each seed in which it was measured."""
        return [value for _, cell in sorted(self.seeds(training, prior).items()) if (value := figure(cell)) is not None]

    def differences(self, training: str, prior: float | None, figure: Figure, other: str = PLAIN) -> list[float]:
        """Return a figure of a training minus the figure of another training, for each seed that has both."""
        mine, others = self.seeds(training, prior), self.seeds(other, prior)
        found = []
        for seed in sorted(mine.keys() & others.keys()):
            value, base = figure(mine[seed]), figure(others[seed])
            if value is not None and base is not None:
                found.append(value - base)
        return found


def auroc(pair: str) -> Figure:
    """Return the figure that reads the AUROC of a pair of sets from a cell, with the max logit score."""
    return lambda cell: cell["auroc"][SCORE].get(pair)


def accuracy(cell: Mapping[str, Any]) -> float:
    """Read the accuracy at the prior of the training."""
    return float(cell["accuracy"])


def independent(cell: Mapping[str, Any]) -> float | None:
    """Read the accuracy on images whose backgrounds say nothing about the class."""
    value: float | None = cell["accuracy_independent"]
    return value


def misleading(cell: Mapping[str, Any]) -> float | None:
    """Read the background misleading index with the max logit score."""
    value: float | None = cell["misleading_index"][SCORE]
    return value


def audited(name: str, masks: str = "audit") -> Figure:
    """Return the figure that reads the accuracy on a counterfactual set from a cell."""
    return lambda cell: cell[masks]["accuracy"][name] if masks in cell else None


def gap(masks: str = "audit") -> Figure:
    """Return the figure that reads the background gap from a cell."""
    return lambda cell: cell[masks]["background_gap"]["value"] if cell.get(masks, {}).get("background_gap") else None


def entropy_of_backgrounds(cell: Mapping[str, Any]) -> float | None:
    """Read the entropy of the answers on pure backgrounds, in 0..1."""
    found = cell["audit"]["entropy"]["only-background"]
    return None if found is None else float(found["value"])


def outside(cell: Mapping[str, Any]) -> float | None:
    """Read the spread of logits beside the object."""
    value: float | None = cell["spread"]["outside"]
    return value


def outside_share(cell: Mapping[str, Any]) -> float | None:
    """Read the spread of logits beside the object as a share of the spread on the object."""
    beside, on = cell["spread"]["outside"], cell["spread"]["inside"]
    return None if not beside or not on else beside / on
