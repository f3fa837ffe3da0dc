"""Part (d) of the page of a study: audits with true masks and with estimated masks."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from backmix.study.part import Part, Table, prior_text, share, verdict
from backmix.study.plan import PARTS, trainings_of
from backmix.study.results import Results, audited, gap


def audit_part(results: Results) -> Part:
    """Return the part that shows the audit of each training."""
    prior = results.strong
    trainings = results.there(trainings_of("d"), prior)
    sets = ("original", "only-background", "mixed-same", "mixed-random")
    rows = [
        [name, *(share(results.values(name, prior, audited(each))) for each in sets), gap_told(results, name, "audit")]
        for name in trainings
    ]
    tables = [
        Table(
            f"Prior {prior_text(prior)}; true masks; accuracy on each set and background gap, percent",
            ["training", *sets, "background gap"],
            rows,
            "In brackets the widest of the seeds' 95 % intervals.",
        )
    ]
    estimated = [
        [
            name,
            gap_told(results, name, "audit"),
            gap_told(results, name, "audit_estimated"),
            share(mask_errors(results, name), sign=True),
        ]
        for name in trainings
        if results.values(name, prior, gap("audit_estimated"))
    ]
    findings = []
    for name in trainings[1:]:
        found = results.differences(name, prior, gap())
        findings.append(
            f"{name.capitalize()}: the gap changes by {share(found, sign=True)} points, "
            f"{verdict(found, higher_is_better=False)}."
        )
    if estimated:
        tables.append(
            Table(
                "The background gap from true and from estimated masks (saliency), percent",
                ["training", "true masks", "estimated masks", "difference"],
                estimated,
            )
        )
        findings.append(trust(results, trainings))
    return Part(
        "d",
        PARTS["d"],
        "What the audit says of networks that differ in their training alone, with masks that are true and with masks "
        "that are estimated.",
        findings,
        tables,
    )


def gap_told(results: Results, training: str, masks: str) -> str:
    """Write the mean background gap with the range of the intervals of all seeds."""
    ends = _widest(results, training, masks)
    if ends is None:
        return "–"
    low, high = ends
    mean = statistics.fmean(results.values(training, results.strong, gap(masks)))
    return f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})".replace("-", "−")


def mask_errors(results: Results, training: str) -> list[float]:
    """Return the background gap from estimated masks minus the gap from true masks, for each seed."""
    cells = results.seeds(training, results.strong).values()
    pairs = [(gap("audit_estimated")(cell), gap()(cell)) for cell in cells]
    return [estimate - true for estimate, true in pairs if estimate is not None and true is not None]


def trust(results: Results, trainings: Sequence[str]) -> str:
    """Return sentences on how far the gaps from estimated masks are from the gaps from true masks."""
    errors = [error for name in trainings for error in mask_errors(results, name)]
    kept, pairs = kept_order(results, trainings)
    order = f"They order {kept} of {pairs} pairs of trainings alike whose intervals from true masks do not meet."
    return (
        f"Gaps from estimated masks are {share([abs(error) for error in errors])} points from those of true masks, at "
        f"most {100 * max(abs(error) for error in errors):.1f}." + (f" {order}" if pairs else "")
    )


def kept_order(results: Results, trainings: Sequence[str]) -> tuple[int, int]:
    """Count the pairs of trainings that true masks tell apart.

    True masks tell two trainings apart if the ranges of the intervals of their seeds do not overlap.

    Returns:
        The number of these pairs that estimated masks put in the same order, and the number of all these pairs.
    """
    ends = {name: _widest(results, name, "audit") for name in trainings}
    means = {name: results.values(name, results.strong, gap("audit_estimated")) for name in trainings}
    kept = pairs = 0
    for low in trainings:
        for high in trainings:
            one, other = ends[low], ends[high]
            if one and other and means[low] and means[high] and one[1] < other[0]:
                pairs += 1
                kept += statistics.fmean(means[low]) < statistics.fmean(means[high])
    return kept, pairs


def _widest(results: Results, training: str, masks: str) -> tuple[float, float] | None:
    """Return the lowest and the highest end of the 95 % intervals of the background gap over all seeds."""
    cells = results.seeds(training, results.strong).values()
    found = [cell[masks]["background_gap"] for cell in cells if gap(masks)(cell) is not None]
    return (min(of["low"] for of in found), max(of["high"] for of in found)) if found else None
