"""Part (b) of the page of a study: backgrounds as outliers."""

from __future__ import annotations

from backmix.study.part import Part, Table, beside_plain, prior_text, share, verdict
from backmix.study.plan import PARTS, trainings_of
from backmix.study.results import Results, accuracy, auroc
from backmix.study.trainings import PLAIN


def outliers_part(results: Results) -> Part:
    """Return the part that shows how much each training gains from backgrounds as outliers."""
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
        beside_plain(results, prior, auroc("Kk-Qk"), "AUROC", trainings[1:]),
        [
            Table(
                f"Prior {prior_text(prior)}; percent, unknown score max logit",
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
