"""Figures that papers and their authors printed, under our names, to stand beside ours."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from backmix.benchmark.summary import Setting

RECALLED = "recalled"
CONFIDENCES = ("verified", "second-hand", RECALLED)
"""Read in the source named; read in a summary of it; not read again, for orientation and never a pass mark."""

_NAMES = {"tiny_imagenet": "tiny-imagenet", "stanford_cars": "stanford-cars", "fgvc_aircraft": "fgvc-aircraft"}
_METRICS = {"dtacc": "detection_accuracy", "auin": "aupr_in", "auout": "aupr_out"}

# Protocol as printed -> our split list, None where the source does not say which.
_OPEN_SET: dict[str, str | None] = {
    "unknown detection, mean of five random splits": None,
    "neal and arpl lists mixed": None,
    "as in that paper": None,
    "arpl-style": None,
    "arpl": "arpl",
    "neal": "neal",
}
# All CIFAR-10 classes known, the test images of another set unknown.
_CROSS = ("in = all CIFAR-10, out = test set of the other", "labelled multi-class")

# Name as printed -> method, augmentation and detector of ours, "" where the source does not say which score. A name
# that is missing here is kept: another backbone, another recipe, or a method that we do not have.
_METHODS = {
    "Plain*": ("softmax", "none", ""),
    "Plain*+BackMix": ("softmax", "backmix", ""),
    "Softmax": ("softmax", "none", ""),
    "Softmax threshold": ("softmax", "none", "msp"),
    "MSP+ (same training recipe)": ("softmax", "none", "msp"),
    "OpenMax": ("softmax", "none", "openmax"),
    "MLS": ("softmax", "none", "max_logit"),
    "MLS, VGG32": ("softmax", "none", "max_logit"),
    "MLS (closed-set paper)": ("softmax", "none", "max_logit"),
    "CE constant temperature": ("softmax", "none", "max_logit"),
    "CE + M-NegCosSch": ("negcossch", "none", "max_logit"),
    "GCPL": ("gcpl", "none", "method"),
    "RPL": ("rpl", "none", "method"),
    "ARPL": ("arpl", "none", "method"),
    "ARPL+BackMix": ("arpl", "backmix", "method"),
    "ARPL+CS": ("arpl-cs", "none", "method"),
    "CSSR": ("pcssr", "none", "method"),
    "CSSR+BackMix": ("pcssr", "backmix", "method"),
    "RCSSR": ("rcssr", "none", "method"),
    "PROSER": ("proser", "none", "method"),
    "ConOSR": ("conosr", "none", "method"),
}
# Whose own score is the largest logit.
_MAX_LOGIT_METHODS = ("softmax", "negcossch")


@dataclass(frozen=True)
class Published:
    """A printed figure.

    Attributes:
        protocol: ours, where it is one of ours.
        split_list: ours, "" where the protocol has none; None where the source does not say which.
        unknown_set: ours; "" where the protocol has but one.
        method: ours, or the printed name where no method of ours is certainly the same.
        augmentation: ours.
        detector: ours; "" where the source does not say which score.
        metric: a figure of ours, where it is one of ours.
        mean: in 0..1.
        name: of the method as printed.
        source: where it was printed.
        confidence: one of `CONFIDENCES`.
    """

    protocol: str
    split_list: str | None
    unknown_set: str
    method: str
    augmentation: str
    detector: str
    metric: str
    mean: float
    name: str
    source: str
    confidence: str

    @property
    def origin(self) -> str:
        """Name, source, confidence and what is not known of it, in one line."""
        unsure = ", split list not known" if self.split_list is None else ""
        return f"{self.name}: {self.source}; {self.confidence}{unsure}"


def published_for(protocol: str, split_list: str, metric: str, unknown_set: str = "") -> list[Published]:
    """Printed figures of a protocol.

    Those of another split list are left out; those whose list is not known are there for every list, and say so.

    Args:
        protocol: ours.
        split_list: ours; "" for none.
        metric: a name in `backmix.benchmark.results.FIGURES`.
        unknown_set: ours, for protocols with several.

    Returns:
        In the order of the file: what was read first, what is recalled last.
    """
    return [
        entry
        for entry in all_published()
        if entry.protocol == protocol
        and entry.metric == metric
        and entry.split_list in (None, split_list)
        and entry.unknown_set in ("", unknown_set)
    ]


def published_beside(setting: Setting, metric: str) -> list[Published]:
    """Printed figures of the method, augmentation and score of a setting; none for a variant."""
    if setting.variant:
        return []
    own = "max_logit" if setting.method in _MAX_LOGIT_METHODS else "method"
    score = own if setting.detector == "method" else setting.detector
    return [
        entry
        for entry in published_for(setting.protocol, setting.split_list, metric, setting.unknown_set)
        if (entry.method, entry.augmentation) == (setting.method, setting.augmentation)
        and (metric == "accuracy" or entry.detector in ("", score))
    ]


def notes_on(shown: Iterable[Published]) -> list[str]:
    """Sentences that belong under a table with these figures."""
    shown = list(shown)
    notes = []
    if shown:
        notes.append("Published figures are of other networks and recipes than ours, as a rule means of five trials.")
    if any(entry.name.startswith("Plain*") for entry in shown):
        notes.append(
            "The Plain* figures of BackMix's tables repeat, digit for digit, softmax figures of earlier papers: they "
            "are quoted, so what BackMix gains over them there is not like for like."
        )
    if any(entry.source.startswith("BackMix") and entry.split_list is None for entry in shown):
        notes.append("Which split list BackMix used is not known.")
    if any(entry.confidence == RECALLED for entry in shown):
        notes.append("Recalled figures were not read again in their source: for orientation, never a pass mark.")
    return notes


@cache
def all_published() -> tuple[Published, ...]:
    """All printed figures of the file, in its order."""
    content: dict[str, Any] = json.loads((files("backmix.benchmark") / "published.json").read_text(encoding="utf-8"))
    return tuple(_published(entry) for entry in content["results"])


def _published(entry: dict[str, Any]) -> Published:
    data, printed, metric = entry["dataset"], entry["protocol"], entry["metric"]
    known, _, unknown = data.partition(" vs ")
    # A name that no protocol of ours has, so that figures of another task never stand beside ours.
    protocol = f"{data}, {printed}"
    split_list: str | None = ""
    unknown_set = ""
    if printed in _OPEN_SET and not unknown:
        protocol, split_list = _NAMES.get(data, data), _OPEN_SET[printed]
    elif printed in _CROSS and unknown:
        protocol, unknown_set = f"{known}-ood", _NAMES.get(unknown, unknown)
    elif printed == "ssb":
        metric, _, unknown_set = metric.partition("_")
        protocol = _NAMES.get(data, data)
    method, augmentation, detector = _METHODS.get(entry["method"], (entry["method"], "none", ""))
    return Published(
        protocol,
        split_list,
        unknown_set,
        method,
        augmentation,
        detector,
        _METRICS.get(metric, metric),
        round(entry["mean"] / 100, 6),
        entry["method"],
        entry["source"],
        entry["confidence"],
    )
