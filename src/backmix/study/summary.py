"""The results of all parts of a study, in the order of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backmix.study.part import Part
from backmix.study.part_audit import audit_part
from backmix.study.part_outliers import outliers_part
from backmix.study.part_predictions import predictions_part
from backmix.study.part_priors import priors_part
from backmix.study.results import Results
from backmix.study.trainings import PLAIN


def summarise(study: Mapping[str, Any]) -> list[Part]:
    """Return the results of each part whose plain training has been measured.

    Args:
        study: The content of study.json. Cells may be missing.
    """
    results = Results(study)
    makers = {"a": priors_part, "b": outliers_part, "c": predictions_part, "d": audit_part}
    return [makers[part](results) for part in results.parts if results.there((PLAIN,), _prior_of(results, part))]


def _prior_of(results: Results, part: str) -> float | None:
    if part == "a":
        return results.priors[0]
    return results.middle if part == "b" else results.strong
