"""List the settings of a run: its options, its data, the versions, and the commands that repeat it."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from dataclasses import dataclass
from typing import Any

from backmix.classifier import OpenSetClassifier
from backmix.pages.words import count, number, visible
from backmix.report.run_facts import RunFacts
from backmix.report.tested import Tested, Thresholds
from backmix.version import __version__

PACKAGES = ("torch", "torchvision", "timm", "pillow", "numpy")
OF_CALIBRATION = ("detector", "accept", "thresholds", "per_class", "class_thresholds")


@dataclass(frozen=True)
class Asked:
    """The arguments of `write_report` that choose the images."""

    data: str | None = None
    split: str | None = None
    unknown: str | None = None
    unknown_split: str | None = None


@dataclass(frozen=True)
class Options:
    """A group of options: its title, and the name, the value and the remark of each option. A remark may be empty."""

    title: str
    rows: list[tuple[str, str, str]]


def option_groups(facts: RunFacts, classifier: OpenSetClassifier, thresholds: Thresholds) -> list[Options]:
    """Return every option of the run, in groups: first the arguments of `backmix fit`, last the decision."""
    asked = [(name, _value(value), "not given" if value is None else "") for name, value in facts.arguments.items()]
    settings = {
        **classifier.settings,
        "mean": classifier.preprocess.mean,
        "std": classifier.preprocess.std,
        "decoding": classifier.preprocess.decoding,
        "precision": classifier.precision,
        "classes": len(classifier.classes),
    }
    overall = thresholds.overall
    decision: dict[str, Any] = {"detector": thresholds.detector, "accept": thresholds.accept}
    if overall is not None:
        decision |= {"threshold": overall.threshold, "held-out images": len(overall.scores)}
    decision["threshold of each class"] = bool(thresholds.by_class)
    decision |= {name: value for name, value in facts.calibration.items() if name not in OF_CALIBRATION}
    groups = [
        Options("What backmix fit was asked for", asked),
        Options("What was chosen for it", _rows(facts.chosen)),
        Options("How it trained", _rows(facts.training)),
        Options("Network", _rows(settings)),
        Options("Decision", _rows(decision)),
    ]
    return [group for group in groups if group.rows]


def data_counts(facts: RunFacts, classifier: OpenSetClassifier, tested: Tested | None) -> list[tuple[str, str]]:
    """Return the number of images for each use, the number of known classes, and the time of the training."""
    images = facts.metrics.get("images")
    found = images if isinstance(images, dict) else {}
    rows = [("trained on", found.get("train")), ("held out for calibration", found.get("held_out"))]
    rows += [("kept for a test, of known classes", found["test"])] if isinstance(found.get("test"), int) else []
    known = None if tested is None else int(tested.known.sum())
    rows += [
        ("known classes", len(classifier.classes)),
        ("tested, of known classes", known),
        ("tested, unknown", None if tested is None or known is None else len(tested) - known),
        ("tested but unreadable", None if tested is None else len(tested.unreadable)),
    ]
    counts = [(name, f"{value:,}" if isinstance(value, int) else "not told by the run") for name, value in rows]
    seconds = facts.metrics.get("seconds")
    if isinstance(seconds, int | float):
        counts.append(("time of the training", _duration(float(seconds))))
    return counts


def versions(facts: RunFacts) -> list[tuple[str, str]]:
    """Return the versions of backmix at the training and now, and the current versions of the packages it uses."""
    rows = [
        ("backmix, training", str(facts.config.get("backmix", "not told"))),
        ("backmix, report", __version__),
        ("Python", platform.python_version()),
    ]
    for name in PACKAGES:
        try:
            rows.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:  # The package has no metadata.
            continue
    return rows


def commands(facts: RunFacts, thresholds: Thresholds, asked: Asked) -> list[tuple[list[str], str]]:
    """Return the commands that repeat the run and its report, as words quoted for a shell, each with a remark."""
    if facts.recipe is not None:
        fit = ["backmix", "fit", "--config", str(facts.folder / "fit.yaml"), "--out", "NEW"]
        remark = "Trains again, with every option as it was."
    else:
        fit = [*fit_command(facts.arguments), "--out", "NEW"]
        remark = "Trains again, as it was asked for: the run holds no fit.yaml, which newer runs write."
    calibrate = ["backmix", "calibrate", "NEW", "--accept", f"{thresholds.accept:g}"]
    if thresholds.by_class:
        calibrate.append("--per-class")
    report = ["backmix", "report", "NEW"]
    for option, value in (
        ("--data", asked.data),
        ("--split", asked.split),
        ("--unknown", asked.unknown),
        ("--unknown-split", asked.unknown_split),
    ):
        report += [option, value] if value is not None else []
    return [
        (_typed(fit), remark),
        (_typed(calibrate), "Not needed after fit, which does it too; for another share, or for other images."),
        (_typed(report), "Writes this page."),
    ]


def fit_command(arguments: dict[str, Any]) -> list[str]:
    """Return the words of the `backmix fit` command that was typed, without --out."""
    words = ["backmix", "fit", str(arguments.get("data", "DATA"))]
    for name, value in arguments.items():
        flag = "--" + name.replace("_", "-").removesuffix("s" if isinstance(value, dict) else "")
        if name == "data" or value is None:
            continue
        if isinstance(value, dict):
            for key, entry in value.items():
                words += [flag, f"{key}={entry}"]
        else:
            words += ["--no-" + flag[2:]] if value is False else [flag] if value is True else [flag, str(value)]
    return words


def _typed(words: list[str]) -> list[str]:
    return [visible(shlex.quote(word), 20_000) for word in words]


def _rows(options: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(name, _value(value), "") for name, value in options.items()]


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, 6)
    if isinstance(value, list | tuple):
        return ", ".join(_value(entry) for entry in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_value(entry)}" for name, entry in value.items()) or "none"
    return str(value)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return count(minutes, "minute")
    return f"{minutes // 60} h {minutes % 60} min"
