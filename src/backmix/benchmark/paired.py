"""The effect of an augmentation: its differences to a baseline, pair by pair."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from backmix.benchmark.results import LOWER_IS_BETTER, Row
from backmix.benchmark.summary import ALIKE, Mean, RowSetting, by_setting, check_figures, in_units, mean_of

CONFIDENCE = 0.95
_TIE = 1e-12
"""Equal averages over seeds may differ by this much in floating point."""


@dataclass(frozen=True)
class Difference:
    """The difference between a setting and its baseline in one figure.

    Attributes:
        setting: The setting.
        baseline: The setting that it is compared to.
        figure: The name of the figure.
        mean: The mean of the differences, setting minus baseline, each in -1..1; None if there is no pair.
        interval: The lower and upper end of the interval with `CONFIDENCE`; None for fewer than two values.
        better: The number of trials (or seeds, see `Mean.over`) in which the setting is better. FPR95 is better if
            lower.
        worse: The number of trials (or seeds) in which the setting is worse.
        equal: The number of trials (or seeds) without a difference.
        p: The p value of the two-sided sign test; None if there is no pair.
        paired: The (trial, seed) of each pair.
        values: The difference for each trial (or seed).
        notes: Sentences that say which results were not paired, and why.
    """

    setting: RowSetting
    baseline: RowSetting
    figure: str
    mean: Mean | None
    interval: tuple[float, float] | None
    better: int
    worse: int
    equal: int
    p: float | None
    paired: tuple[tuple[str, int], ...]
    values: dict[str, float]
    notes: tuple[str, ...]


def compare(
    rows: Iterable[Row], figure: str = "auroc", *, augmentation: str | None = "none", variant: str = ""
) -> list[Difference]:
    """Compare every setting with a baseline that differs from it only in augmentation and variant.

    Results are paired by trial and seed. The differences are averaged over the seeds of each trial first, and then over
    the trials. If there is only one trial, they are averaged over its seeds. A pair whose model, epochs, precision,
    version or numbers of images differ (`ALIKE`) is left out, and a note names it. Device and threads may differ.

    The interval is `mean ± t sd / sqrt(n)`, with the quantile t of Student's distribution with n - 1 degrees of
    freedom. It assumes that the differences of the trials are independent. The trials share training and test images,
    so the interval is approximate, and more likely too narrow than too wide.

    The sign test is exact and leaves ties out. With b better and w worse,
    `p = min(1, 2 sum_{i = 0..min(b, w)} C(b + w, i) / 2^(b + w))`. Five trials that all go one way have p = 0.0625.

    Args:
        rows: The results, in any order.
        figure: The name of a figure in `FIGURES`.
        augmentation: The augmentation of the baseline. None: The augmentation of the setting, for an ablation of its
            options.
        variant: The variant of the baseline; "" for the default options.

    Returns:
        A difference for each setting that is not itself a baseline, in the order of `RowSetting.order`.

    Raises:
        DataError: See `backmix.benchmark.summary.summarise`.
    """
    check_figures([figure])
    settings = by_setting(rows)
    found = []
    for setting in sorted(settings, key=lambda one: one.order):
        baseline = replace(setting, augmentation=augmentation or setting.augmentation, variant=variant)
        if baseline != setting:
            found.append(_difference(setting, baseline, figure, settings[setting], settings.get(baseline, [])))
    return found


def interval_of(mean: Mean, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Return Student's confidence interval of a mean; None for fewer than two values."""
    from scipy import stats  # The import takes a second, which would slow --help down.

    if mean.sd is None:
        return None
    half = float(stats.t.ppf((1 + confidence) / 2, mean.n - 1)) * mean.sd / math.sqrt(mean.n)
    return mean.value - half, mean.value + half


def sign_test(better: int, worse: int) -> float:
    """Return the two-sided p value of `better` against `worse` under even odds; 1 if both are 0. See `compare`."""
    from scipy import stats

    return float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0


def _difference(
    setting: RowSetting, baseline: RowSetting, figure: str, rows: Sequence[Row], others: Sequence[Row]
) -> Difference:
    partners = {(row.trial, row.seed): row for row in others}
    values: dict[tuple[str, int], float] = {}
    left_out: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        partner = partners.get((row.trial, row.seed))
        where = f"trial {row.trial} seed {row.seed}"
        if partner is None:
            left_out["it has no result there"].append(where)
            continue
        unlike = [
            f"{name} is {getattr(row, name)}, there {getattr(partner, name)}"
            for name in ALIKE
            if getattr(row, name) != getattr(partner, name)
        ]
        ours, theirs = getattr(row, figure), getattr(partner, figure)
        if unlike:
            left_out["; ".join(unlike)].append(where)
        elif ours is None or theirs is None:
            left_out[f"{figure} is missing"].append(where)
        else:
            values[row.trial, row.seed] = ours - theirs
    notes = tuple(f"not paired with {baseline.mix}: {', '.join(places)}: {why}." for why, places in left_out.items())
    if not values:
        return Difference(setting, baseline, figure, None, None, 0, 0, 0, None, (), {}, notes)
    mean = mean_of(values)
    _, units = in_units(values)
    gains = [-value if figure in LOWER_IS_BETTER else value for value in units.values()]
    better, worse = sum(gain > _TIE for gain in gains), sum(gain < -_TIE for gain in gains)
    return Difference(
        setting,
        baseline,
        figure,
        mean,
        interval_of(mean),
        better,
        worse,
        len(gains) - better - worse,
        sign_test(better, worse),
        tuple(values),
        units,
        notes,
    )
