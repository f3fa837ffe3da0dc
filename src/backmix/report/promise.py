"""Compare the share of known images that a threshold promises to accept with the observed share."""

from __future__ import annotations

from backmix.metrics.acceptance import SHARES, acceptance_table
from backmix.metrics.chance import Proportion, accepted_by_chance, share_of
from backmix.pages.words import count, interval, listed, percent, visible
from backmix.report.run_facts import RunFacts
from backmix.report.tested import Tested, Thresholds
from backmix.runs.refused import estimated_at, estimates, refused_in_words


def promise(tested: Tested, thresholds: Thresholds) -> list[str]:
    """Return sentences on promised and observed acceptance, and on whether chance explains the difference."""
    overall = thresholds.overall
    if overall is None:
        return ["There is no threshold: everything is accepted. Fit one with backmix calibrate RUN."]
    observed = share_of(int((tested.known & tested.accepted).sum()), int(tested.known.sum()))
    promised = percent(thresholds.accept)
    sentences = [
        f"Promised: of new known images taken like those it was calibrated on, {promised} or more are accepted on "
        f"average. The threshold was fitted on {count(len(overall.scores), 'image')} held out from training."
    ]
    if thresholds.by_class:
        own = sum(threshold is not None for threshold in thresholds.by_class)
        sentences.append(
            f"{own:,} of {count(len(thresholds.by_class), 'class', 'classes')} "
            f"{'has a threshold of its own' if own == 1 else 'have thresholds of their own'}."
        )
    if observed is None:
        return [*sentences, "Observed: nothing, as no image of a known class was tested."]
    sentences.append(
        f"Observed: {observed.hits:,} of {observed.total:,} accepted, {percent(observed.value)} "
        f"(binomial error: {interval(observed.low, observed.high)})."
    )
    return [*sentences, _verdict(observed, thresholds)]


def refused(tested: Tested, thresholds: Thresholds, facts: RunFacts) -> list[str]:
    """Return a sentence on the unknown images that are refused, as tested or as the training estimated it."""
    if thresholds.overall is None:
        return []
    unknown = ~tested.known
    found = share_of(int((unknown & ~tested.accepted).sum()), int(unknown.sum()))
    if found is not None:
        return [
            f"At that share {found.hits:,} of {count(found.total, 'image')} of other things are refused, "
            f"{percent(found.value)} (binomial error: {interval(found.low, found.high)})."
        ]
    return [refused_in_words(facts.metrics, thresholds.detector, thresholds.accept)]


def cost_rows(tested: Tested, thresholds: Thresholds, facts: RunFacts) -> list[tuple[str, str, str]]:
    """Return what several shares to accept cost, as (share, known images accepted, others refused) in words."""
    if thresholds.overall is None:
        return []
    scores, known = tested.scores, tested.known
    rows = acceptance_table(thresholds.overall.scores, scores[known], scores[~known], {*SHARES, thresholds.accept})
    guesses = estimates(facts.metrics, thresholds.detector) if known.all() else {}
    found = []
    for row in rows:
        guess = estimated_at(guesses, row.accept)
        others = percent(row.refused) if guess is None else f"about {percent(guess)}"
        found.append((percent(row.accept), percent(row.accepted), others))
    return found


def _verdict(observed: Proportion, thresholds: Thresholds) -> str:
    assert thresholds.overall is not None
    accept, held_out = thresholds.accept, len(thresholds.overall.scores)
    if thresholds.overall.note and not thresholds.by_class:
        return "But too few images were held out for a threshold, so that everything is accepted, known or not."
    if observed.holds(accept):
        return (
            f"The promise of {percent(accept)} lies within the binomial error: kept, as far as these images can tell."
        )
    above = observed.value > accept
    low, high = accepted_by_chance(held_out, accept, observed.total)
    if not thresholds.by_class and low <= observed.value <= high:
        return (
            f"The promise of {percent(accept)} lies outside the binomial error of these images alone. But a threshold "
            f"fitted on {count(held_out, 'image')} is itself off by chance: with that counted, 95 of 100 calibrations "
            f"and tests give {interval(low, high)}, so nothing speaks against the promise."
        )
    if above:
        return (
            f"More are accepted than {percent(accept)}, beyond the binomial error. The promise allows that, but "
            "more unknown things get through than need to."
        )
    return (
        f"That is less than {percent(accept)} by more than chance explains. These images probably differ from those it "
        "was calibrated on: another camera, place or time, or some that were trained on stood among the latter. "
        "Calibrate again on images like these: backmix calibrate RUN DATA."
    )


def choice(facts: RunFacts) -> list[str]:
    """Return a sentence on how example unknowns chose the detector; none if they did not."""
    chosen = facts.calibration.get("chosen")
    if not isinstance(chosen, dict) or not isinstance(chosen.get("images"), int):
        return []
    others = chosen.get("auroc")
    among = f" among {listed([visible(name) for name in others])}" if isinstance(others, dict) and others else ""
    return [
        f"The unknown score, {visible(chosen.get('detector'))}, was chosen{among} by "
        f"{count(chosen['images'], 'example unknown')}. That is all they did: the threshold comes from known images "
        "alone."
    ]
