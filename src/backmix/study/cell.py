"""Run one cell of a study: train in one way on one setting, and measure everything that the parts ask for."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from backmix import metrics
from backmix.audit.gather import choose_masks, gather
from backmix.audit.models.classifier import ClassifierModel
from backmix.audit.results import audit_results
from backmix.audit.run import AuditRun
from backmix.classifier import OpenSetClassifier
from backmix.data.source import ImageSource, Subset
from backmix.fit.training import fit
from backmix.inference.evaluation import collect
from backmix.study.setting import Setting, Sources
from backmix.study.spread import logit_spread
from backmix.study.trainings import TRAININGS
from backmix.train.loop import make_accelerator

SCORES = ("max_logit", "msp", "method")
PAIRS = ("Kk-Qk", "Kk-Qq", "Kq-Qk", "Kq-Qq")
KEPT = (
    "accuracy",
    "background_gap",
    "flips",
    "from_background",
    "pasting_cost",
    "entropy",
)
"""The results of an audit that a cell keeps."""


@dataclass(frozen=True)
class Cell:
    """One training of a study and its measurements.

    Attributes:
        training: A name in `TRAININGS`.
        prior: The rate at which backgrounds go with classes; None if it cannot be chosen.
        seed: The seed of the weights, the order, the crops and the random choices in making pictures.
        estimated: Whether the audit is also made with estimated masks.
    """

    training: str
    prior: float | None
    seed: int
    estimated: bool = False

    def key(self) -> dict[str, Any]:
        """Return the values that tell the cell apart from others."""
        return {"training": self.training, "prior": self.prior, "seed": self.seed}


def run_cell(setting: Setting, cell: Cell, *, workers: int = 2) -> dict[str, Any] | None:
    """Train and measure one cell.

    The figures are:

    - `loss`: the loss of the last epoch.
    - `accuracy`: the accuracy on test images at the prior of the training.
    - `accuracy_independent`: the accuracy on test images whose backgrounds say nothing about the class.
    - `auroc`: the AUROC by score and pair in `PAIRS`. K and Q stand for known and unknown objects, k and q for
      backgrounds of known classes and of other kinds.
    - `misleading_index`: the AUROC of Kk-Qq minus the AUROC of Kk-Qk, by score.
    - `spread`: the spread of the logits at single places.
    - `audit`: the audit with true masks.
    - `audit_estimated`: the audit with estimated masks, if the cell asks for it.

    A figure that cannot be measured is None.

    Args:
        setting: The setting that the study is made on.
        cell: The cell to run.
        workers: The number of threads that decode images.

    Returns:
        The figures, or None if the setting has no outliers of the kind that the training needs.
    """
    training = TRAININGS[cell.training]
    outliers: str | ImageSource | None = None
    if training.outliers is not None:
        outliers = setting.outliers(training.outliers, cell.prior, cell.seed)
        if outliers is None:
            return None
    sources = setting.sources(cell.prior, cell.seed)
    options = replace(setting.options, seed=cell.seed)
    classifier = OpenSetClassifier(
        setting.known,
        model=setting.model,
        method=training.method,
        image_size=setting.image_size,
        seed=cell.seed,
        detector="max_logit",
    )
    report = fit(
        classifier,
        sources.train,
        options=options,
        augmentation=training.augmentation,
        augmentation_options=dict(training.options),
        outliers=outliers,
        held_out=sources.held_out,
        accelerator=make_accelerator(options.precision),
        workers=workers,
    )
    return {"loss": report.history[-1].loss, **measure(classifier, cell, sources, workers=workers)}


def measure(classifier: OpenSetClassifier, cell: Cell, sources: Sources, *, workers: int = 2) -> dict[str, Any]:
    """Measure every figure of a trained classifier, see `run_cell`."""
    test = _answers(classifier, sources.test, workers)
    found: dict[str, Any] = {"accuracy": test.accuracy}
    independent = None if sources.independent is None else _answers(classifier, sources.independent, workers)
    found["accuracy_independent"] = None if independent is None else independent.accuracy
    grounds = {"k": test}
    if sources.elsewhere is not None:
        grounds["q"] = _answers(classifier, sources.elsewhere, workers)
    found["auroc"] = {
        score: {
            pair: _auroc(grounds[pair[1]], grounds[pair[4]], score)
            for pair in PAIRS
            if pair[1] in grounds and pair[4] in grounds
        }
        for score in SCORES
    }
    found["misleading_index"] = {
        score: None if of.get("Kk-Qq") is None else of["Kk-Qq"] - of["Kk-Qk"] for score, of in found["auroc"].items()
    }
    spread = logit_spread(classifier, sources.test, workers=workers)
    found["spread"] = {name: None if math.isnan(value) else value for name, value in spread._asdict().items()}
    found["audit"] = audit_of(classifier, sources.test, "true", cell, workers=workers)
    if cell.estimated:
        found["audit_estimated"] = audit_of(classifier, sources.test, "saliency", cell, workers=workers)
    return found


def audit_of(
    classifier: OpenSetClassifier, source: ImageSource, masks: str, cell: Cell, *, workers: int = 2
) -> dict[str, Any]:
    """Audit a classifier on the known images of a source.

    Args:
        classifier: A fitted classifier.
        source: The images, with masks.
        masks: "true", or the name of the way to estimate masks.
        cell: The cell, whose seed draws the donors.
        workers: The number of threads that decode images.

    Returns:
        The figures in `KEPT`, the number of images in the audit, and the number of images with faulty masks.
    """
    known = Subset(source, (classifier.labels_for(source) >= 0).nonzero()[:, 0])
    chosen = choose_masks(masks, known)
    model = ClassifierModel(classifier, "in memory")
    gathered = gather(known, chosen, model.names, len(classifier.classes))
    with tempfile.TemporaryDirectory(prefix="backmix-study-") as folder:
        settings = {"cell": cell.key(), "masks": masks}
        with AuditRun(
            model,
            gathered.items,
            gathered.matching.to_data,
            Path(folder),
            settings,
            seed=cell.seed,
            batch_size=256,
            workers=workers,
        ) as run:
            audit = run.answer()
    result = audit_results(audit, gathered, chosen, model.score, seed=cell.seed)
    faults = sum(entry["images"] for entry in result["masks"]["faults"].values())
    return {
        **{name: result[name] for name in KEPT},
        "images": result["images"]["mixed-random"],
        "masks_at_fault": faults,
    }


@dataclass(frozen=True)
class _Answers:
    """The answers to a source: scores (N,) by name, labels (N,) with -1 for unknown, and the accuracy on the known."""

    scores: dict[str, Tensor]
    labels: Tensor
    accuracy: float


def _answers(classifier: OpenSetClassifier, source: ImageSource, workers: int) -> _Answers:
    outputs = collect(
        classifier.network,
        classifier.preprocess,
        source,
        classifier.labels_for(source),
        precision=classifier.precision,
        workers=workers,
    )
    logits, labels = outputs.logits.double(), outputs.labels
    scores = {
        "max_logit": -logits.amax(1),
        "msp": -logits.log_softmax(1).amax(1),
        "method": outputs.scores.double(),
    }
    known = labels >= 0
    return _Answers(scores, labels, metrics.closed_accuracy(logits.argmax(1)[known], labels[known]))


def _auroc(known: _Answers, unknown: _Answers, score: str) -> float | None:
    accepted, rejected = known.scores[score][known.labels >= 0], unknown.scores[score][unknown.labels < 0]
    return metrics.auroc(accepted, rejected) if len(accepted) and len(rejected) else None
