"""The module that is exported: it takes pixels and gives logits, unknown score, p-value and decision."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from backmix.classifier import OpenSetClassifier
from backmix.data.preprocess import Preprocess
from backmix.detectors import METHOD, OURS, REWRITTEN, WRAPPED, Detector
from backmix.errors import RunError
from backmix.export.decision import Decision
from backmix.methods import Method
from backmix.methods.network import Network
from backmix.onnx_model.contract import Description
from backmix.version import __version__


class ExportedModel(nn.Module):
    """A module that applies normalisation, network, detector, p-value and decision, in float32 up to the logits.

    Args:
        network: The network, in evaluation mode.
        preprocess: The preprocessing, which defines the normalisation.
        detector: The detector whose unknown score decides; None: the method's own score decides.
        decision: The thresholds on the score.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: Network, preprocess: Preprocess, detector: Detector | None, decision: Decision) -> None:
        super().__init__()
        self.network = network
        self.detector = detector
        self.decision = decision
        # These are the same two float32 numbers per channel as in `Preprocess.normalise`, so the results are the same.
        mean = torch.tensor(preprocess.mean)[:, None, None]
        std = torch.tensor(preprocess.std)[:, None, None]
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", mean / std)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Answer images (N, 3, S, S) uint8.

        Returns:
            The logits (N, K) float32, unknown scores (N,) float64, p-values (N,) float64 and decisions (N,) int64.
        """
        # Channels are last in memory, as in `Preprocess.normalise`, because convolutions are quicker then.
        pixels = images.to(torch.float32, memory_format=torch.channels_last)
        logits, scores = self.scores(pixels * self.scale - self.shift)
        return logits, scores, *self.decision(scores, logits.argmax(1))

    def scores(self, normalised: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N, K) float32 and unknown scores (N,) float64 of normalised images (N, 3, S, S)."""
        head, backbone = self.network.head, self.network.backbone
        if self.detector is None or type(head).respond is not Method.respond:
            response = head.respond(backbone, normalised)
            if self.detector is None:
                return response.logits, response.score.double()
            return response.logits, self.detector(response.logits, response.features).double()
        # This is `Method.respond` without the method's own score, which is not needed and may not be exportable.
        features = cast(Tensor, backbone(normalised)).float()
        logits = head.logits(features).float()
        return logits, self.detector(logits, head.pooled(features)).double()


def exported_model(classifier: OpenSetClassifier) -> ExportedModel:
    """Return the module of a calibrated classifier, on the CPU and in evaluation mode.

    Raises:
        RunError: If there is no threshold, or the detector that decides cannot be exported.
    """
    name = classifier.detector
    if name not in classifier.thresholds:
        raise RunError(
            f"the run has no threshold for {name}, so an exported model could not say unknown. Calibrate it first: "
            "backmix calibrate RUN"
        )
    detector = None if name == METHOD else classifier.ready_detector(name)
    if name in WRAPPED or (detector is not None and detector.needs_images):
        why = "computes outside of the network" if name in REWRITTEN else "comes from pytorch-ood"
        if detector is not None and detector.needs_images:
            why = "runs the network on an image again"
        others = ", ".join(other for other in (METHOD, *OURS) if other != "max_logit")
        raise RunError(
            f"detector {name} {why}, which an exported file cannot hold. Let another decide, then export: "
            f"backmix calibrate RUN --detector max_logit (or {others})"
        )
    decision = Decision(
        len(classifier.classes),
        classifier.thresholds[name],
        classifier.class_thresholds if classifier.per_class else None,
    )
    return ExportedModel(classifier.network, classifier.preprocess, detector, decision).cpu().eval()


def describe(classifier: OpenSetClassifier) -> Description:
    """Return the description for the file of a calibrated classifier."""
    threshold = classifier.thresholds[classifier.detector]
    own = [None if one is None else one.threshold for one in classifier.class_thresholds]
    return Description(
        classes=classifier.classes,
        image_size=classifier.preprocess.image_size,
        detector=classifier.detector,
        accept=classifier.accept,
        threshold=threshold.threshold,
        held_out=len(threshold.scores),
        class_thresholds=own if classifier.per_class else None,
        model=classifier.settings["model"],
        method=classifier.settings["method"],
        backmix=__version__,
        value_ranges=dict(classifier.value_ranges or {}),
        decoding=classifier.preprocess.decoding,
    )
