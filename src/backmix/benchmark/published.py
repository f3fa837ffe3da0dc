"""Figures that were printed in papers or by their authors, under the names of this package, to compare with ours."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from backmix.benchmark.summary import RowSetting

RECALLED = "recalled"
CONFIDENCES = ("verified", "second-hand", RECALLED)
"""How sure a printed figure is.

"verified" was read in the named source. "second-hand" was read in a summary of the source. "recalled" was not read
again: it serves as orientation and is never a pass mark.
"""

_NAMES = {"tiny_imagenet": "tiny-imagenet", "stanford_cars": "stanford-cars", "fgvc_aircraft": "fgvc-aircraft"}
_METRICS = {"dtacc": "detection_accuracy", "auin": "aupr_in", "auout": "aupr_out"}

# The protocol as printed -> our split list; None if the source does not name the list.
_OPEN_SET: dict[str, str | None] = {
    "unknown detection, mean of five random splits": None,
    "neal and arpl lists mixed": None,
    "as in that paper": None,
    "arpl-style": None,
    "arpl": "arpl",
    "neal": "neal",
}
# In these, all classes of CIFAR-10 are known, and the test images of another set are unknown.
_CROSS = ("in = all CIFAR-10, out = test set of the other", "labelled multi-class")

# The name as printed -> our method, augmentation and detector; "" if the source does not name the score. A name that is
# missing here is kept as printed: it stands for another backbone, another recipe, or a method that we do not have.
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
# The methods whose own score is the largest logit.
_MAX_LOGIT_METHODS = ("softmax", "negcossch")


@dataclass(frozen=True)
class Published:
    """A printed figure.

    Attributes:
        protocol: Our name of the protocol, or the data set and protocol as printed if we do not have the protocol.
        split_list: Our name of the list; "" if the protocol has no list, None if the source does not name the list.
        unknown_set: Our name of the unknown set; "" if the protocol has a single set.
        method: Our name of the method, or the printed name if no method of ours is certainly the same.
        augmentation: Our name of the augmentation.
        detector: Our name of the unknown score; "" if the source does not name the score.
        metric: Our name of the figure, or the printed name if we do not have the figure.
        mean: The printed mean, as a share in 0..1.
        name: The name of the method as printed.
        source: Where the figure was printed.
        confidence: How sure the figure is, one of `CONFIDENCES`.
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
        """The name, source and confidence in one line, with a note if the split list is not known."""
        unsure = ", split list not known" if self.split_list is None else ""
        return f"{self.name}: {self.source}; {self.confidence}{unsure}"


def published_for(protocol: str, split_list: str, metric: str, unknown_set: str = "") -> list[Published]:
    """Return the printed figures of a protocol.

    Figures of another split list are left out. Figures whose list is not known are returned for every list, and their
    `origin` says so.

    Args:
        protocol: Our name of the protocol.
        split_list: Our name of the split list; "" for none.
        metric: A name in `backmix.benchmark.results.FIGURES`.
        unknown_set: Our name of the unknown set, for protocols with several sets.

    Returns:
        The figures in the order of the file: those that were read come first, recalled ones last.
    """
    return [
        entry
        for entry in all_published()
        if entry.protocol == protocol
        and entry.metric == metric
        and entry.split_list in (None, split_list)
        and entry.unknown_set in ("", unknown_set)
    ]


def published_beside(setting: RowSetting, metric: str) -> list[Published]:
    """Return the printed figures of the method, augmentation and score of a setting; none if it has a variant."""
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
    """Return the sentences that belong under a table with these figures."""
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
    """Return all printed figures, in the order of the file published.json."""
    content: dict[str, Any] = json.loads((files("backmix.benchmark") / "published.json").read_text(encoding="utf-8"))
    return tuple(_published(entry) for entry in content["results"])


def _published(entry: dict[str, Any]) -> Published:
    data, printed, metric = entry["dataset"], entry["protocol"], entry["metric"]
    known, _, unknown = data.partition(" vs ")
    # No protocol of ours has this name, so figures of another task never stand beside ours.
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
