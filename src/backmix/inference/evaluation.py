"""Run a trained network on images, and compute unknown scores and figures from its outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from backmix import metrics
from backmix.data.loader import decode
from backmix.data.preprocess import Preprocess
from backmix.data.source import ImageSource
from backmix.detectors import Detector
from backmix.detectors.stages import stage_means
from backmix.errors import DataError, in_one_line
from backmix.methods import Response
from backmix.methods.network import Network
from backmix.models.precision import resolve_precision


@dataclass(frozen=True)
class Answers:
    """The outputs of a network for N decoded images, on the CPU.

    Attributes:
        response: The logits, the pooled features and the method's own score.
        image_scores: (N,) the unknown scores of the detectors that need images, by name.
        left_out: The reasons why other detectors that need images have no scores, by name.
        stages: (N, C_l) float32, the means of the feature maps inside the network, see `stage_means`, if requested.
    """

    response: Response
    image_scores: dict[str, Tensor]
    left_out: dict[str, str]
    stages: list[Tensor]


@dataclass(frozen=True)
class Outputs:
    """The outputs of a network for N images of a source.

    Attributes:
        logits: (N, K) float32, the logits.
        features: (N, C) float32, the pooled features.
        scores: (N,) float32, the method's own unknown scores.
        labels: (N,) int64, the known class of each image, -1 for unknown.
        positions: (N,) int64, the position of each image in the source.
        skipped: The (name, reason) of each unreadable image.
        image_scores: (N,) the unknown scores of the detectors that need images, by name.
        left_out: The reasons why other detectors that need images have no scores, by name.
        stages: (N, C_l) float32, the means of the feature maps inside the network, if requested.
    """

    logits: Tensor
    features: Tensor
    scores: Tensor
    labels: Tensor
    positions: Tensor
    skipped: list[tuple[str, str]]
    image_scores: dict[str, Tensor] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    stages: list[Tensor] = field(default_factory=list)

    @property
    def response(self) -> Response:
        """The logits, the pooled features and the method's own score."""
        return Response(self.logits, self.features, self.scores)

    @property
    def accuracy(self) -> float:
        """The closed-set accuracy on the known images, of which there is at least one, 0..1."""
        known = self.labels >= 0
        return metrics.closed_accuracy(self.logits.argmax(1)[known], self.labels[known])


def most_at_a_time(image_size: int) -> int:
    """Return the number of images from which a larger batch gains nothing on a CPU.

    The feature maps of larger batches take memory that the system clears again for every batch. In small networks, that
    is up to half of the time.
    """
    return min(64, max(8, 1_000_000 // image_size**2))


# This is not inference mode, because detectors that need gradients are fitted on the outputs.
@torch.no_grad()
def run_network(
    network: Network,
    preprocess: Preprocess,
    images: Tensor,
    *,
    precision: str = "auto",
    batch_size: int = 256,
    detectors: Mapping[str, Detector] | None = None,
    optional: Collection[str] = (),
    stages: bool = False,
) -> Answers:
    """Run the network, and the detectors that need images, on decoded images.

    Args:
        network: The network, which is put into evaluation mode.
        preprocess: The preprocessing that normalises the images.
        images: (N, 3, S, S) uint8, the images, on any device.
        precision: "bf16", "fp32" or "auto", see `TrainOptions`.
        batch_size: The largest number of images per batch; a CPU takes at most `most_at_a_time`.
        detectors: The ready detectors that need images, by name.
        optional: The names of detectors that are left out if they cannot score the images, instead of raising an error.
        stages: Whether to return the means of the feature maps inside the network.

    Raises:
        ValueError: If a detector cannot score these images.
    """
    network.eval()
    device = next(network.parameters()).device

    def backbone(shown: Tensor) -> Tensor:
        maps: Tensor
        with torch.autocast(device.type, torch.bfloat16, enabled=resolve_precision(precision) == "bf16"):
            # Methods may also run the backbone on changed images. Only the unchanged images count here.
            if stages and len(inside) == len(parts) and torch.equal(shown, normalised):
                maps, means = stage_means(network.backbone, shown)
                inside.append([mean.cpu() for mean in means])
            else:
                maps = network.backbone(shown)
        # The head runs in float32, because bf16 logits have steps of 1/16 near 10, which makes scores equal.
        return maps.float()

    parts: list[Response] = []
    inside: list[list[Tensor]] = []  # The means of the feature maps of the same batches.
    scores: dict[str, list[Tensor]] = {name: [] for name in detectors or {}}
    left_out: dict[str, str] = {}
    if device.type == "cpu":
        batch_size = min(batch_size, most_at_a_time(preprocess.image_size))
    for part in images.split(batch_size):
        normalised = preprocess.normalise(part.to(device, non_blocking=True))
        response = network.head.respond(backbone, normalised)
        if stages and len(inside) == len(parts):
            backbone(normalised)
        parts.append(response)
        for name, detector in (detectors or {}).items():
            try:
                if name not in left_out:
                    scores[name].append(detector.score_images(normalised))
            except ValueError as error:
                if name not in optional:
                    raise
                left_out[name] = in_one_line(error)
    response = Response(
        torch.cat([part.logits for part in parts]).cpu(),
        torch.cat([part.features for part in parts]).cpu(),
        torch.cat([part.score for part in parts]).cpu(),
    )
    found = {name: torch.cat(of).cpu() for name, of in scores.items() if name not in left_out}
    return Answers(response, found, left_out, [torch.cat(stage) for stage in zip(*inside, strict=True)])


def collect(
    network: Network,
    preprocess: Preprocess,
    source: ImageSource,
    labels: Tensor,
    *,
    positions: Sequence[int] | None = None,
    precision: str = "auto",
    batch_size: int = 256,
    workers: int = 2,
    on_images: Callable[[int], object] | None = None,
    detectors: Mapping[str, Detector] | None = None,
    optional: Collection[str] = (),
    stages: bool = False,
) -> Outputs:
    """Read, decode and run the images of a source in bounded memory.

    Args:
        network: The network to run.
        preprocess: The preprocessing that decodes and normalises images.
        source: The images.
        labels: (len(source),) int64, the known class of each image, -1 for unknown.
        positions: The positions of the images in the source; None: all images.
        precision: "bf16", "fp32" or "auto", see `TrainOptions`.
        batch_size: The number of images per batch.
        workers: The number of threads that decode images.
        on_images: A function that is called after each chunk with the number of images done so far.
        detectors: The ready detectors that need images, by name.
        optional: The names of detectors that are left out if they cannot score the images, instead of raising an error.
        stages: Whether to return the means of the feature maps inside the network.

    Raises:
        DataError: If no image can be read.
        ValueError: If a detector cannot score these images.
    """
    wanted = list(range(len(source))) if positions is None else [int(p) for p in positions]
    parts: list[Answers] = []
    kept: list[Tensor] = []
    left_out: dict[str, str] = {}
    skipped: list[tuple[str, str]] = []
    for start in range(0, len(wanted), 4 * batch_size):
        chunk = wanted[start : start + 4 * batch_size]
        decoded = decode(source, labels, preprocess, positions=chunk, workers=workers)
        skipped += decoded.skipped
        if len(decoded.images):
            able = {name: detector for name, detector in (detectors or {}).items() if name not in left_out}
            how: dict[str, Any] = {"precision": precision, "batch_size": batch_size, "stages": stages}
            answers = run_network(network, preprocess, decoded.images, detectors=able, optional=optional, **how)
            left_out |= answers.left_out
            parts.append(answers)
            kept.append(decoded.positions)
        if on_images is not None:
            on_images(start + len(chunk))
    if not parts:
        first = f" The first: {skipped[0][0]}: {skipped[0][1]}." if skipped else ""
        raise DataError(f"no image could be read; {len(skipped)} were tried.{first}")
    at = torch.cat(kept)
    return Outputs(
        torch.cat([part.response.logits for part in parts]),
        torch.cat([part.response.features for part in parts]),
        torch.cat([part.response.score for part in parts]),
        labels[at],
        at,
        skipped,
        {name: torch.cat([part.image_scores[name] for part in parts]) for name in parts[-1].image_scores},
        left_out,
        [torch.cat(stage) for stage in zip(*(part.stages for part in parts), strict=True)],
    )


def unknown_scores(
    response: Response,
    image_scores: Mapping[str, Tensor],
    detectors: Mapping[str, Detector | None],
    *,
    optional: Collection[str] = (),
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the unknown scores of N images by detector.

    Args:
        response: The outputs of the network.
        image_scores: (N,) the scores of the detectors that need images, by name.
        detectors: The ready detectors by name; None stands for the method's own score.
        optional: The names of detectors that are left out if they have no scores, instead of raising an error.

    Returns:
        The scores (N,) by name, and by name the reasons why other detectors have none.

    Raises:
        ValueError: If a detector cannot score these images, or gives NaN.
    """
    found: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    for name, detector in detectors.items():
        try:
            if name in image_scores:
                scores = image_scores[name]
            else:
                scores = response.score if detector is None else detector(response.logits, response.features)
            missing = int(scores.isnan().sum())
            if missing:
                raise ValueError(
                    f"{name}: {missing} of {len(scores)} unknown scores are NaN: the network computes no numbers for "
                    "these images, because its weights are far too large or damaged. Restore the run, or train again"
                )
            found[name] = scores
        except ValueError as error:
            if name not in optional:
                raise
            left_out[name] = in_one_line(error)
    return found, left_out


def own_answers(response: Response, detectors: Mapping[str, Detector | None]) -> dict[str, Tensor]:
    """Return the answers (N,) int64, -1 for unknown, of the detectors that have a decision rule of their own, by name.

    Args:
        response: The outputs of the network.
        detectors: The ready detectors by name; None stands for the method's own score, which has no rule.
    """
    answers = {
        name: detector.decide(response.logits, response.features)
        for name, detector in detectors.items()
        if detector is not None
    }
    return {name: own for name, own in answers.items() if own is not None}


def figures(
    outputs: Outputs,
    scores_of: Mapping[str, Tensor],
    accepted_of: Mapping[str, Tensor] | None = None,
    own: Mapping[str, Tensor] | None = None,
) -> dict[str, Any]:
    """Return the figures of a test set, ready for JSON.

    `accuracy` is the closed-set accuracy on the known images. For each detector, `detectors.NAME` holds auroc, oscr,
    fpr95, aupr_in, aupr_out and detection_accuracy. A detector with a threshold also has accepted_known,
    rejected_unknown, accuracy_with_rejection and macro_f1. A detector with a decision rule of its own also has
    own_rule_accuracy and own_rule_macro_f1, over K + 1 classes with "unknown" as one of them. Figures that need known
    or unknown images are null if there are none.

    Args:
        outputs: The outputs of the network.
        scores_of: The unknown scores (N,), by detector.
        accepted_of: (N,) bool, whether the threshold accepts each image, by detector, for detectors with a threshold.
        own: The answers (N,), -1 for unknown, of the detectors with a rule of their own, see `own_answers`.
    """
    known = outputs.labels >= 0
    predicted = outputs.logits.argmax(1)
    correct = predicted == outputs.labels
    result: dict[str, Any] = {
        "images": {"known": int(known.sum()), "unknown": int((~known).sum()), "unreadable": len(outputs.skipped)},
        "accuracy": metrics.closed_accuracy(predicted[known], outputs.labels[known]) if known.any() else None,
        "detectors": {},
    }
    both = bool(known.any()) and bool((~known).any())
    for name, scores in scores_of.items():
        entry: dict[str, Any] = dict.fromkeys(("auroc", "oscr", "fpr95", "aupr_in", "aupr_out", "detection_accuracy"))
        if both:
            entry.update(metrics.open_set_metrics(scores[known], correct[known], scores[~known]))
        if accepted_of is not None and name in accepted_of:
            accepted = accepted_of[name]
            answers = torch.where(accepted, predicted, -1)
            entry["accepted_known"] = float(accepted[known].float().mean()) if known.any() else None
            entry["rejected_unknown"] = float((~accepted[~known]).float().mean()) if (~known).any() else None
            entry["accuracy_with_rejection"] = (
                metrics.accuracy_with_rejection(predicted[known], outputs.labels[known], accepted[known])
                if known.any()
                else None
            )
            entry["macro_f1"] = metrics.macro_f1(answers, outputs.labels)
        if own is not None and name in own:
            entry["own_rule_accuracy"] = float((own[name] == outputs.labels).float().mean())
            entry["own_rule_macro_f1"] = metrics.macro_f1(own[name], outputs.labels)
        result["detectors"][name] = entry
    return result


def feature_maps(
    network: Network,
    preprocess: Preprocess,
    source: ImageSource,
    labels: Tensor,
    positions: Tensor,
    *,
    precision: str = "auto",
    batch_size: int = 256,
    workers: int = 2,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the feature maps (B, C, h, w) float32 and labels (B,) of images of a source, batch by batch.

    Args:
        network: The network, which is put into evaluation mode.
        preprocess: The preprocessing that decodes and normalises images.
        source: The images.
        labels: (len(source),) int64, the label of each image of the source.
        positions: (M,) int64, the positions of the images in the source.
        precision: "bf16", "fp32" or "auto", see `TrainOptions`.
        batch_size: The number of images per batch.
        workers: The number of threads that decode images.

    Yields:
        Feature maps and labels, on the device of the network.
    """
    network.eval()
    device = next(network.parameters()).device
    for chunk in positions.split(4 * batch_size):
        decoded = decode(source, labels, preprocess, positions=chunk.tolist(), workers=workers)
        for images, known in zip(decoded.images.split(batch_size), decoded.labels.split(batch_size), strict=True):
            autocast = torch.autocast(device.type, torch.bfloat16, enabled=resolve_precision(precision) == "bf16")
            with torch.no_grad(), autocast:
                maps = network.backbone(preprocess.normalise(images.to(device)))
            yield maps.float(), known.to(device)
