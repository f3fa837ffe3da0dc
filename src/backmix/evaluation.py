"""Scores of a trained network on images, and the figures that come from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backmix import metrics
from backmix.data.loader import decode
from backmix.data.source import ImageSource
from backmix.detectors import DETECTORS
from backmix.errors import DataError
from backmix.network import Network
from backmix.preprocess import Preprocess
from backmix.threshold import ConformalThreshold


@dataclass(frozen=True)
class Outputs:
    """What a network says of N images.

    Attributes:
        logits: (N, K) float32.
        features: (N, C) float32, pooled.
        labels: (N,) int64 known class, -1 for unknown.
        positions: (N,) int64 position in the source.
        skipped: (name, reason) of each unreadable image.
    """

    logits: Tensor
    features: Tensor
    labels: Tensor
    positions: Tensor
    skipped: list[tuple[str, str]]


@torch.inference_mode()
def run_network(
    network: Network, preprocess: Preprocess, images: Tensor, *, precision: str = "bf16", batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """Logits and pooled features of decoded images.

    Args:
        network: in evaluation mode.
        preprocess: normalises.
        images: (N, 3, S, S) uint8, on any device.
        precision: "bf16" or "fp32".
        batch_size: images at a time.

    Returns:
        (N, K) and (N, C) float32 on the CPU.
    """
    network.eval()
    device = next(network.parameters()).device
    logits, features = [], []
    for part in images.split(batch_size):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            maps = network.backbone(preprocess.normalise(part.to(device, non_blocking=True)))
        # The head in float32: bf16 logits have steps of 1/16 near 10, and scores would tie.
        maps = maps.float()
        logits.append(network.head.logits(maps).float())
        features.append(maps.mean((2, 3)))
    return torch.cat(logits).cpu(), torch.cat(features).cpu()


def collect(
    network: Network,
    preprocess: Preprocess,
    source: ImageSource,
    labels: Tensor,
    *,
    positions: Sequence[int] | None = None,
    precision: str = "bf16",
    batch_size: int = 256,
    workers: int = 2,
    on_images: Callable[[int], object] | None = None,
) -> Outputs:
    """Read, decode and run the images of a source in bounded memory.

    Args:
        network: what to run.
        preprocess: how images are decoded and normalised.
        source: where they are.
        labels: (len(source),) int64 known class of each, -1 for unknown.
        positions: which images; None: all.
        precision: "bf16" or "fp32".
        batch_size: images at a time.
        workers: threads that decode.
        on_images: told the number of images done after each chunk.
    """
    wanted = list(range(len(source))) if positions is None else [int(p) for p in positions]
    parts: list[tuple[Tensor, Tensor]] = []
    kept: list[Tensor] = []
    skipped: list[tuple[str, str]] = []
    for start in range(0, len(wanted), 4 * batch_size):
        chunk = wanted[start : start + 4 * batch_size]
        decoded = decode(source, labels, preprocess, positions=chunk, workers=workers)
        skipped += decoded.skipped
        if len(decoded.images):
            parts.append(run_network(network, preprocess, decoded.images, precision=precision, batch_size=batch_size))
            kept.append(decoded.positions)
        if on_images is not None:
            on_images(start + len(chunk))
    if not parts:
        first = f" The first: {skipped[0][0]}: {skipped[0][1]}." if skipped else ""
        raise DataError(f"no image could be read; {len(skipped)} were tried.{first}")
    at = torch.cat(kept)
    return Outputs(torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]), labels[at], at, skipped)


def unknown_scores(name: str, logits: Tensor, features: Tensor) -> Tensor:
    """Unknown scores (N,) of a detector by name, from logits (N, K) and pooled features (N, C)."""
    if name not in DETECTORS:
        raise ValueError(f"no detector {name!r}; there are {', '.join(DETECTORS)}")
    scores: Tensor = DETECTORS[name]()(logits, features)
    return scores


def figures(
    outputs: Outputs, detectors: Sequence[str], thresholds: dict[str, ConformalThreshold] | None = None
) -> dict[str, Any]:
    """Figures of a test set, as they go into JSON.

    `accuracy` is closed-set accuracy on the known images. For each detector `detectors.NAME` holds auroc, oscr, fpr95,
    aupr_in, aupr_out, detection_accuracy, and with a threshold also what was accepted, accuracy_with_rejection and
    macro_f1. Figures that need known or unknown images are null when there are none.

    Args:
        outputs: what the network said.
        detectors: names.
        thresholds: fitted ones, by detector.
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
    for name in detectors:
        scores = unknown_scores(name, outputs.logits, outputs.features)
        entry: dict[str, Any] = dict.fromkeys(("auroc", "oscr", "fpr95", "aupr_in", "aupr_out", "detection_accuracy"))
        if both:
            entry.update(metrics.open_set_metrics(scores[known], correct[known], scores[~known]))
        if thresholds is not None and name in thresholds:
            accepted = thresholds[name].accept(scores)
            answers = torch.where(accepted, predicted, -1)
            entry["accepted_known"] = float(accepted[known].float().mean()) if known.any() else None
            entry["rejected_unknown"] = float((~accepted[~known]).float().mean()) if (~known).any() else None
            entry["accuracy_with_rejection"] = (
                metrics.accuracy_with_rejection(predicted[known], outputs.labels[known], accepted[known])
                if known.any()
                else None
            )
            entry["macro_f1"] = metrics.macro_f1(answers, outputs.labels)
        result["detectors"][name] = entry
    return result


@torch.inference_mode()
def feature_maps(
    network: Network,
    preprocess: Preprocess,
    source: ImageSource,
    labels: Tensor,
    positions: Tensor,
    *,
    precision: str = "bf16",
    batch_size: int = 256,
    workers: int = 2,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Feature maps (B, C, h, w) float32 and labels (B,) of images of a source, on the device of the network."""
    network.eval()
    device = next(network.parameters()).device
    for chunk in positions.split(4 * batch_size):
        decoded = decode(source, labels, preprocess, positions=chunk.tolist(), workers=workers)
        for images, known in zip(decoded.images.split(batch_size), decoded.labels.split(batch_size), strict=True):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                maps = network.backbone(preprocess.normalise(images.to(device)))
            yield maps.float(), known.to(device)
