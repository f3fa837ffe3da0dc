"""Part (a) of the page of a study: a rising prior between object and background."""

from __future__ import annotations

from backmix.study.part import Part, Table, beside_plain, prior_text, share
from backmix.study.plan import PARTS
from backmix.study.results import Figure, Results, accuracy, auroc, independent, misleading
from backmix.study.trainings import MAIN, PLAIN


def priors_part(results: Results) -> Part:
    """Return the part that shows the effect of the prior between object and background on each training."""
    columns: list[tuple[str, Figure]] = [
        ("accuracy", accuracy),
        ("accuracy, backgrounds say nothing", independent),
        ("AUROC, unknown on known backgrounds", auroc("Kk-Qk")),
        ("AUROC, unknown on other backgrounds", auroc("Kk-Qq")),
        ("AUROC, known on other, unknown on known backgrounds", auroc("Kq-Qk")),
        ("misleading index", misleading),
    ]
    rows = [
        [prior_text(prior), training, *(share(results.values(training, prior, figure)) for _, figure in columns)]
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
                f"Trained plainly, {name} goes from {share(low)} at the prior {prior_text(first)}, where background "
                f"and class are independent, to {share(high)} at {prior_text(last)}."
            )
    findings += beside_plain(results, last, auroc("Kk-Qk"), f"AUROC at the prior {prior_text(last)}", MAIN[1:])
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
