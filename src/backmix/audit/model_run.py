"""A run of ours as a model to audit."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from backmix.audit.class_map import Names
from backmix.audit.frame import Frame
from backmix.audit.models import Answers, ModelOptions, own_size
from backmix.checkpoint import sha256
from backmix.classifier import OpenSetClassifier
from backmix.detectors import METHOD
from backmix.evaluation import run_network, unknown_scores


class RunModel:
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
        self._classifier = OpenSetClassifier.load(folder).to(options.device)
        self.frame = Frame(own_size(options, self._classifier.preprocess.image_size))
        self.names: Names | None = [[name] for name in self._classifier.classes]
        self.score: str | None = self._classifier.detector
        self.fingerprint = sha256(folder / "config.yaml")  # It holds the fingerprints of the weights.
        self.notes: list[str] = []

    def answers(self, images: Tensor) -> Answers:
        """See `AuditedModel.answers`."""
        classifier, name = self._classifier, self._classifier.detector
        detector = None if name == METHOD else classifier.ready_detector(name)
        found = run_network(
            classifier.network,
            classifier.preprocess,
            images,
            precision=classifier.precision,
            batch_size=len(images),
            detectors={name: detector} if detector is not None and detector.needs_images else None,
        )
        scores = unknown_scores(found.response, found.image_scores, {name: detector})[0][name]
        return Answers(found.response.logits.float(), scores.float())
