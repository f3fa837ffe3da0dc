"""From the cells of a study to what each part found: tables, and sentences that say no more than the figures do."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backmix.study.plan import PARTS, middle_prior, parts_of, strong_prior, trainings_of
from backmix.study.trainings import MAIN, PLAIN

SCORE = "max_logit"
Figure = Callable[[Mapping[str, Any]], float | None]


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: what it shows.
        head: of the columns.
        rows: of as many cells.
        note: how to read it; may be empty.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""


@dataclass(frozen=True)
class Part:
    """What one part found.

    Attributes:
        key: a to d.
        title: of the part.
        about: what was done.
        findings: sentences.
        tables: of figures.
    """

    key: str
    title: str
    about: str
    findings: list[str]
    tables: list[Table] = field(default_factory=list)


class Results:
    """The cells of a study.

    Args:
        study: what study.json holds.
    """

    def __init__(self, study: Mapping[str, Any]) -> None:
        self.priors: list[float] = study["setting"]["priors"]
        self.parts = parts_of(self.priors, study["setting"]["parts"])
        self.cells: list[dict[str, Any]] = [cell for cell in study["cells"] if not cell.get("left_out")]
        self.middle, self.strong = middle_prior(self.priors), strong_prior(self.priors)

    def seeds(self, training: str, prior: float | None) -> dict[int, dict[str, Any]]:
        """Cells by seed."""
        return {cell["seed"]: cell for cell in self.cells if cell["training"] == training and cell["prior"] == prior}

    def there(self, trainings: Sequence[str], prior: float | None) -> list[str]:
        """Those trainings that have a cell."""
        return [name for name in trainings if self.seeds(name, prior)]

    def values(self, training: str, prior: float | None, figure: Figure) -> list[float]:
        """A figure of each seed, where it was measured."""
        return [value for _, cell in sorted(self.seeds(training, prior).items()) if (value := figure(cell)) is not None]

    def differences(self, training: str, prior: float | None, figure: Figure, other: str = PLAIN) -> list[float]:
        """A figure minus that of another training, seed by seed."""
        mine, others = self.seeds(training, prior), self.seeds(other, prior)
        found = []
        for seed in sorted(mine.keys() & others.keys()):
            value, base = figure(mine[seed]), figure(others[seed])
            if value is not None and base is not None:
                found.append(value - base)
        return found


def auroc(pair: str) -> Figure:
    """AUROC of a pair of sets by max logit."""
    return lambda cell: cell["auroc"][SCORE].get(pair)


def accuracy(cell: Mapping[str, Any]) -> float:
    """Accuracy at the prior of the training."""
    return float(cell["accuracy"])


def independent(cell: Mapping[str, Any]) -> float | None:
    """Accuracy where backgrounds say nothing of the class."""
    value: float | None = cell["accuracy_independent"]
    return value


def misleading(cell: Mapping[str, Any]) -> float | None:
    """Background misleading index by max logit."""
    value: float | None = cell["misleading_index"][SCORE]
    return value


def audited(name: str, masks: str = "audit") -> Figure:
    """Accuracy on a counterfactual set."""
    return lambda cell: cell[masks]["accuracy"][name] if masks in cell else None


def gap(masks: str = "audit") -> Figure:
    """Background gap."""
    return lambda cell: cell[masks]["background_gap"]["value"] if cell.get(masks, {}).get("background_gap") else None


def entropy_of_backgrounds(cell: Mapping[str, Any]) -> float | None:
    """Entropy on pure backgrounds, 0 to 1."""
    found = cell["audit"]["entropy"]["only-background"]
    return None if found is None else float(found["value"])


def outside(cell: Mapping[str, Any]) -> float | None:
    """Spread of logits beside the object."""
    value: float | None = cell["spread"]["outside"]
    return value


def outside_share(cell: Mapping[str, Any]) -> float | None:
    """Spread of logits beside the object as a share of that on the object."""
    beside, on = cell["spread"]["outside"], cell["spread"]["inside"]
    return None if not beside or not on else beside / on


def summarise(study: Mapping[str, Any]) -> list[Part]:
    """What each part found.

    Args:
        study: what study.json holds; cells may be missing.
    """
    results = Results(study)
    makers = {"a": _priors, "b": _outliers, "c": _predictions, "d": _audit}
    return [makers[part](results) for part in results.parts if results.there((PLAIN,), _prior_of(results, part))]


def to_markdown(table: Table) -> str:
    """A table with its title before it and its note behind."""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table.title}:\n\n{text}" + (f"\n\n{table.note}" if table.note else "")


def verdict(differences: Sequence[float], *, higher_is_better: bool = True) -> str:
    """ "better in all 3", "worse in both" or "better in 1 of 3": what can be said of differences, seed by seed."""
    better = sum((value > 0) == higher_is_better and value != 0 for value in differences)
    count = len(differences)
    in_all = {1: "", 2: " in both"}.get(count, f" in all {count}")
    if not count:
        return "not measured"
    if not any(differences):
        return "no change"
    if better == count:
        return "better" + in_all
    if better == 0 and all(differences):
        return "worse" + in_all
    return f"better in {better} of {count}"


def share(values: Sequence[float], *, sign: bool = False, digits: int = 1) -> str:
    """Percent, mean ± standard deviation; a dash without values."""
    return spread([100 * value for value in values], sign=sign, digits=digits)


def spread(values: Sequence[float], *, sign: bool = False, digits: int = 1) -> str:
    """Mean ± standard deviation; a dash without values."""
    if not values:
        return "–"
    # Adding 0 makes of −0 a 0.
    mean = f"{round(statistics.fmean(values), digits) + 0.0:{'+' if sign else ''}.{digits}f}".replace("-", "−")
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def told(prior: float | None) -> str:
    """A prior for people."""
    return "as photographed" if prior is None else f"{prior:.2f}"


def _prior_of(results: Results, part: str) -> float | None:
    if part == "a":
        return results.priors[0]
    return results.middle if part == "b" else results.strong


def _priors(results: Results) -> Part:
    columns: list[tuple[str, Figure]] = [
        ("accuracy", accuracy),
        ("accuracy, backgrounds say nothing", independent),
        ("AUROC, unknown on known backgrounds", auroc("Kk-Qk")),
        ("AUROC, unknown on other backgrounds", auroc("Kk-Qq")),
        ("AUROC, known on other, unknown on known backgrounds", auroc("Kq-Qk")),
        ("misleading index", misleading),
    ]
    rows = [
        [told(prior), training, *(share(results.values(training, prior, figure)) for _, figure in columns)]
        for prior in results.priors
        for training in results.there(MAIN, prior)
    ]
    first, last = results.priors[0], results.strong
    findings = []
    for name, figure in (
        ("accuracy where backgrounds say nothing of the class", independent),
        ("AUROC with unknown objects on known backgrounds", auroc("Kk-Qk")),
        ("AUROC with known objects on other backgrounds and unknown ones on known backgrounds", auroc("Kq-Qk")),
    ):
        low, high = results.values(PLAIN, first, figure), results.values(PLAIN, last, figure)
        if low and high:
            findings.append(
                f"Trained plainly, {name} goes from {share(low)} at the prior {told(first)}, where background and "
                f"class are independent, to {share(high)} at {told(last)}."
            )
    findings += _beside_plain(results, last, auroc("Kk-Qk"), f"AUROC at the prior {told(last)}", MAIN[1:])
    return Part(
        "a",
        PARTS["a"],
        "The same network is trained on the same objects, while the rate at which a class stands on its own background "
        "rises. Unknown objects are tested on the backgrounds of known classes, and on backgrounds of other kinds.",
        findings,
        [
            Table(
                "Percent, mean ± standard deviation of the seeds", ["prior", "training", *(c for c, _ in columns)], rows
            )
        ],
    )


def _outliers(results: Results) -> Part:
    prior = results.middle
    trainings = results.there(trainings_of("b"), prior)
    rows = []
    for name in trainings:
        cells = [share(results.values(name, prior, figure)) for figure in (accuracy, auroc("Kk-Qk"), auroc("Kk-Qq"))]
        found = results.differences(name, prior, auroc("Kk-Qk"))
        beside = ["", ""] if name == PLAIN else [share(found, sign=True), verdict(found)]
        rows.append([name, *cells, *beside])
    return Part(
        "b",
        PARTS["b"],
        "Backgrounds that belong to no class can serve as outliers: cut from the training images by the foreground "
        "bank, or as pictures without an object. They are compared with a set of other objects as outliers, for two "
        "methods that learn from outliers, and with BackMix, which takes none.",
        _beside_plain(results, prior, auroc("Kk-Qk"), "AUROC", trainings[1:]),
        [
            Table(
                f"Prior {told(prior)}; percent, unknown score max logit",
                [
                    "training",
                    "accuracy",
                    "AUROC, unknown on known backgrounds",
                    "AUROC, on other backgrounds",
                    "AUROC on known, minus plain",
                    "seed by seed",
                ],
                rows,
            )
        ],
    )


def _predictions(results: Results) -> Part:
    prior = results.strong
    predictions: list[tuple[str, Figure, bool, Callable[..., str]]] = [
        ("(i) entropy on pure backgrounds rises", entropy_of_backgrounds, True, share),
        ("(ii) accuracy on pure backgrounds falls", audited("only-background"), False, share),
        ("(ii) the background gap shrinks", gap(), False, share),
        ("(ii) accuracy on mixed-random rises", audited("mixed-random"), True, share),
        ("(iii) logits differ less beside the object", outside, False, spread),
        ("(iii) the same as a share of that on the object", outside_share, False, share),
    ]
    mixed = [name for name in results.there(MAIN, prior) if name != PLAIN]
    rows, held = [], {name: 0 for name in mixed}
    for title, figure, rises, show in predictions:
        cells = [show(results.values(PLAIN, prior, figure))]
        for name in mixed:
            found = results.differences(name, prior, figure)
            kept = bool(found) and all((value > 0) == rises and value != 0 for value in found)
            missed = bool(found) and all((value < 0) == rises and value != 0 for value in found)
            held[name] += kept
            sign = "as predicted" if kept else "the other way" if missed else "not the same in every seed"
            cells.append(f"{show(results.values(name, prior, figure))}, {sign}")
        rows.append([title, *cells])
    findings = [
        f"{name.capitalize()}: {count} of {len(predictions)} figures move as predicted, in every seed."
        for name, count in held.items()
    ]
    return Part(
        "c",
        PARTS["c"],
        "If BackMix works because pasted backgrounds go with every label alike, then a background alone should say "
        "less of the class: the answers on it should be less sure and less often right, and single places beside the "
        "object should tell the classes less apart.",
        findings,
        [
            Table(
                f"Prior {told(prior)}; percent, but for logits",
                ["prediction", PLAIN, *mixed],
                rows,
                "Entropy is a share of the largest there can be. A place of the feature map sees further than its own "
                "square, so some of the object is in the places beside it.",
            )
        ],
    )


def _audit(results: Results) -> Part:
    prior = results.strong
    trainings = results.there(trainings_of("d"), prior)
    sets = ("original", "only-background", "mixed-same", "mixed-random")
    rows = [
        [name, *(share(results.values(name, prior, audited(each))) for each in sets), gap_told(results, name, "audit")]
        for name in trainings
    ]
    tables = [
        Table(
            f"Prior {told(prior)}; true masks; accuracy on each set and background gap, percent",
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


def mask_errors(results: Results, training: str) -> list[float]:
    """Background gap from estimated masks minus that from true ones, seed by seed."""
    cells = results.seeds(training, results.strong).values()
    pairs = [(gap("audit_estimated")(cell), gap()(cell)) for cell in cells]
    return [estimate - true for estimate, true in pairs if estimate is not None and true is not None]


def trust(results: Results, trainings: Sequence[str]) -> str:
    """How far gaps from estimated masks were from those of true masks, in a sentence."""
    errors = [error for name in trainings for error in mask_errors(results, name)]
    kept, pairs = kept_order(results, trainings)
    order = f"They order {kept} of {pairs} pairs of trainings alike whose intervals from true masks do not meet."
    return (
        f"Gaps from estimated masks are {share([abs(error) for error in errors])} points from those of true masks, at "
        f"most {100 * max(abs(error) for error in errors):.1f}." + (f" {order}" if pairs else "")
    )


def kept_order(results: Results, trainings: Sequence[str]) -> tuple[int, int]:
    """How many pairs of trainings told apart by true masks are ordered alike by estimated ones, and how many there are.

    Two trainings are told apart where the widest intervals of their seeds do not meet.
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
    """Lowest and highest end of the seeds' 95 % intervals of the background gap."""
    cells = results.seeds(training, results.strong).values()
    found = [cell[masks]["background_gap"] for cell in cells if gap(masks)(cell) is not None]
    return (min(of["low"] for of in found), max(of["high"] for of in found)) if found else None


def gap_told(results: Results, training: str, masks: str) -> str:
    """Mean background gap and the widest of the seeds' intervals."""
    ends = _widest(results, training, masks)
    if ends is None:
        return "–"
    low, high = ends
    mean = statistics.fmean(results.values(training, results.strong, gap(masks)))
    return f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})".replace("-", "−")


def _beside_plain(
    results: Results, prior: float | None, figure: Figure, name: str, trainings: Sequence[str]
) -> list[str]:
    """A sentence on which trainings gain in every seed, which lose, and which neither."""
    groups: dict[str, list[str]] = {"Higher": [], "Lower": [], "Not the same": []}
    for training in results.there(trainings, prior):
        found = results.differences(training, prior, figure)
        if not found:
            continue
        sign = "Higher" if min(found) > 0 else "Lower" if max(found) < 0 else "Not the same"
        groups[sign].append(f"{training} ({share(found, sign=True)})")
    return [
        f"{name}: {sign.lower()} {'in' if sign == 'Not the same' else 'than plain in'} every seed: {'; '.join(of)}."
        for sign, of in groups.items()
        if of
    ]
