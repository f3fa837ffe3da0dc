"""A run of ours as a model to audit."""

from __future__ import annotations

from pathlib import Path

from backmix.audit.models.base import ModelOptions, own_size
from backmix.audit.models.classifier import ClassifierModel
from backmix.classifier import OpenSetClassifier
from backmix.files import sha256


class RunModel(ClassifierModel):
    """The classifier of a run, with the unknown score that decides in it. See `AuditedModel`.

    Args:
        folder: of the run.
        options: its device counts; a run says all else itself.

    Raises:
        RunError: when it cannot be read.
        DataError: when another image size is asked for.
    """

    kind = "run"

    def __init__(self, folder: Path, options: ModelOptions) -> None:
        classifier = OpenSetClassifier.load(folder).to(options.device)
        own_size(options, classifier.preprocess.image_size)
        # The configuration holds the fingerprints of the weights.
        super().__init__(classifier, sha256(folder / "config.yaml"))
