"""Audit a run of backmix."""

from __future__ import annotations

from pathlib import Path

from backmix.audit.models.base import ModelOptions, own_size
from backmix.audit.models.classifier import ClassifierModel
from backmix.classifier import OpenSetClassifier
from backmix.runs.folder import fingerprint


class RunModel(ClassifierModel):
    """The classifier of a run, with the unknown score that decides in it. See `AuditedModel`.

    Args:
        folder: The folder of the run.
        options: Only the device is used, and the image size, to refuse any other than that of the run.

    Raises:
        RunError: If the run cannot be read.
        DataError: If the options ask for another image size.
    """

    kind = "run"

    def __init__(self, folder: Path, options: ModelOptions) -> None:
        classifier = OpenSetClassifier.load(folder).to(options.device)
        own_size(options, classifier.preprocess.image_size)
        super().__init__(classifier, fingerprint(folder))
