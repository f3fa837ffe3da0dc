"""Scores of a trained network on images, and the figures that come from them."""

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
    """What a network says of N decoded images, on the CPU.

    Attributes:
        response: logits, pooled features and the method's own score.
        image_scores: (N,) unknown scores of the detectors that look at images, by name.
        left_out: why others of them have none.
        stages: (N, C_l) float32 means of the maps inside the network, see `stage_means`, where they were asked for.
    """

    response: Response
    image_scores: dict[str, Tensor]
    left_out: dict[str, str]
    stages: list[Tensor]


@dataclass(frozen=True)
class Outputs:
    """What a network says of N images.

    Attributes:
        logits: (N, K) float32.
        features: (N, C) float32, pooled.
        scores: (N,) float32, the method's own unknown score.
        labels: (N,) int64 known class, -1 for unknown.
        positions: (N,) int64 position in the source.
        skipped: (name, reason) of each unreadable image.
        image_scores: (N,) unknown scores of the detectors that look at images, by name.
        left_out: why others of them have none.
        stages: (N, C_l) float32 means of the maps inside the network, where they were asked for.
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
        """Logits, pooled features and the method's own score."""
        return Response(self.logits, self.features, self.scores)


def most_at_a_time(image_size: int) -> int:
    """Images above which a batch gains nothing on a processor.

    The maps of more take memory that the system clears anew for every batch, which is up to half of the time of small
    networks.
    """
    return min(64, max(8, 1_000_000 // image_size**2))


# Not inference mode: detectors that take gradients are fitted on what comes out.
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
    """What the network says of decoded images, and what detectors that look at images do.

    Args:
        network: in evaluation mode.
        preprocess: normalises.
        images: (N, 3, S, S) uint8, on any device.
        precision: "bf16", "fp32" or "auto", see `TrainOptions`.
        batch_size: images at a time, at most: see `most_at_a_time`.
        detectors: by name, ready ones that look at images.
        optional: names of detectors that are left out where they cannot score, instead of raising their error.
        stages: whether to give the means of the maps inside the network.

    Raises:
        ValueError: for a detector that cannot score these images.
    """
    network.eval()
    device = next(network.parameters()).device

    def backbone(shown: Tensor) -> Tensor:
        maps: Tensor
        with torch.autocast(device.type, torch.bfloat16, enabled=resolve_precision(precision) == "bf16"):
            # Methods may ask for other versions of the images too, and only the images as they are count.
            if stages and len(inside) == len(parts) and torch.equal(shown, normalised):
                maps, means = stage_means(network.backbone, shown)
                inside.append([mean.cpu() for mean in means])
            else:
                maps = network.backbone(shown)
        # The head in float32: bf16 logits have steps of 1/16 near 10, and scores would tie.
        return maps.float()

    parts: list[Response] = []
    inside: list[list[Tensor]] = []  # Of the same batches.
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
        network: what to run.
        preprocess: how images are decoded and normalised.
        source: where they are.
        labels: (len(source),) int64 known class of each, -1 for unknown.
        positions: which images; None: all.
        precision: "bf16", "fp32" or "auto", see `TrainOptions`.
        batch_size: images at a time.
        workers: threads that decode.
        on_images: told the number of images done after each chunk.
        detectors: by name, ready ones that look at images.
        optional: names of detectors that are left out where they cannot score, instead of raising their error.
        stages: whether to give the means of the maps inside the network.

    Raises:
        DataError: when no image could be read.
        ValueError: for a detector that cannot score these images.
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
    """Unknown scores of N images by detector.

    Args:
        response: what the network said.
        image_scores: (N,) scores of those detectors that looked at the images.
        detectors: ready ones by name; None: the method's own score.
        optional: names of detectors that are left out where they have no scores, instead of raising their error.

    Returns:
        Scores (N,) by name, and by name why others have none.

    Raises:
        ValueError: for a detector that cannot score these, or gives NaN.
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
                raise ValueError(f"{name}: {missing} of {len(scores)} unknown scores are NaN: look for their images")
            found[name] = scores
        except ValueError as error:
            if name not in optional:
                raise
            left_out[name] = in_one_line(error)
    return found, left_out


def own_answers(response: Response, detectors: Mapping[str, Detector | None]) -> dict[str, Tensor]:
    """Answers (N,) int64, -1 for unknown, by name, of those detectors that have a rule of their own."""
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
    """Figures of a test set, as they go into JSON.

    `accuracy` is closed-set accuracy on the known images. For each detector `detectors.NAME` holds auroc, oscr, fpr95,
    aupr_in, aupr_out, detection_accuracy, and with a threshold also what was accepted, accuracy_with_rejection and
    macro_f1, and with a rule of its own what that comes to over K + 1 classes, "unknown" being one: own_rule_accuracy
    and own_rule_macro_f1. Figures that need known or unknown images are null when there are none.

    Args:
        outputs: what the network said.
        scores_of: unknown scores (N,), by detector.
        accepted_of: (N,) bool whether the threshold accepts each image, by detector, for those that have one.
        own: answers (N,), -1 for unknown, of the detectors with a rule of their own, see `own_answers`.
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
    """Feature maps (B, C, h, w) float32 and labels (B,) of images of a source, on the device of the network."""
    network.eval()
    device = next(network.parameters()).device
    for chunk in positions.split(4 * batch_size):
        decoded = decode(source, labels, preprocess, positions=chunk.tolist(), workers=workers)
        for images, known in zip(decoded.images.split(batch_size), decoded.labels.split(batch_size), strict=True):
            autocast = torch.autocast(device.type, torch.bfloat16, enabled=resolve_precision(precision) == "bf16")
            with torch.no_grad(), autocast:
                maps = network.backbone(preprocess.normalise(images.to(device)))
            yield maps.float(), known.to(device)
