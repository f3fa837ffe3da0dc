"""Part (c) of the page of a study: predictions that follow from the explanation of BackMix."""

from __future__ import annotations

from collections.abc import Callable

from backmix.study.part import Part, Table, prior_text, share, spread
from backmix.study.plan import PARTS
from backmix.study.results import Figure, Results, audited, entropy_of_backgrounds, gap, outside, outside_share
from backmix.study.trainings import MAIN, PLAIN


def predictions_part(results: Results) -> Part:
    """Return the part that shows whether figures move as the explanation of BackMix predicts."""
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
                f"Prior {prior_text(prior)}; percent, but for logits",
                ["prediction", PLAIN, *mixed],
                rows,
                "Entropy is a share of the largest there can be. A place of the feature map sees further than its own "
                "square, so some of the object is in the places beside it.",
            )
        ],
    )
