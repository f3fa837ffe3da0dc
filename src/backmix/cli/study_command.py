"""`backmix study`: foregrounds and backgrounds, by training networks on them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from backmix.cli.console import make_console
from backmix.data.known import choose_known
from backmix.data.load import available_splits, load_source
from backmix.data.source import ImageSource
from backmix.errors import DataError
from backmix.files import write_json
from backmix.fit.digits import OPTIONS
from backmix.study.cell import Cell, run_cell
from backmix.study.charts import samples
from backmix.study.page import FILE, write_study_page
from backmix.study.part import Part
from backmix.study.plan import PARTS, cells_of, parts_of, strong_prior
from backmix.study.setting import (
    DigitsSetting,
    ObjectsSetting,
    PhotosSetting,
    Setting,
    check_masks,
    default_known,
)
from backmix.study.summary import summarise
from backmix.version import __version__

JSON = "study.json"


@dataclass(frozen=True)
class StudyArguments:
    """What `backmix study` was asked for; None: chosen by the data."""

    data: str = "digits"
    scenes: str | None = None
    other_scenes: str | None = None
    outliers: str | None = None
    known_classes: tuple[str, ...] | None = None
    parts: tuple[str, ...] = tuple(PARTS)
    priors: tuple[float, ...] | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    model: str | None = None
    image_size: int | None = None
    epochs: int | None = None
    workers: int = 2


def study_command(arguments: StudyArguments, out: Path) -> dict[str, Any]:
    """Train and measure the cells of a study; goes on where it was cut off.

    Args:
        arguments: what to study.
        out: folder for study.json and study.html, written again after each seed.

    Returns:
        What study.json holds.

    Raises:
        DataError: for data without masks, or a folder that holds another study.
    """
    console = make_console()
    if wrong := [part for part in arguments.parts if part not in PARTS]:
        raise DataError(f"the parts of the study are {', '.join(PARTS)}; got {wrong[0]!r}")
    if not arguments.seeds or len(set(arguments.seeds)) != len(arguments.seeds):
        raise DataError(f"seeds are different numbers, at least one; got {list(arguments.seeds)}")
    setting = make_setting(arguments)
    parts = [part for part in PARTS if part in arguments.parts]
    if not parts_of(setting.priors, parts):
        raise DataError("part a needs scenes, or the embedded digits: as photographed, no one can choose the prior")
    described = describe(setting, parts)
    out.mkdir(parents=True, exist_ok=True)
    done = _read(out / JSON, described)
    cells = cells_of(setting.priors, parts, arguments.seeds)
    command = typed(arguments)
    pictures = samples(setting.sources(strong_prior(setting.priors), arguments.seeds[0]), setting.known)
    left = [cell for cell in cells if not _is_done(cell, done)]
    console.print(
        f"{len(cells)} cells, {len(cells) - len(left)} done; {setting.name}, {setting.model} at "
        f"{setting.image_size} px, {setting.options.epochs} epochs"
    )
    study: dict[str, Any] = {}
    for number, cell in enumerate(left, 1):
        begin = time.monotonic()
        figures = run_cell(setting, cell, workers=arguments.workers)
        kept = {"left_out": True} if figures is None else figures
        done = [entry for entry in done if any(entry[key] != value for key, value in cell.key().items())]
        done.append({**cell.key(), **kept, "seconds": round(time.monotonic() - begin, 1)})
        study = _whole(described, done, cells)
        write_json(out / JSON, study)
        console.print(f"{number}/{len(left)} {_told(cell, figures)}, {done[-1]['seconds']:.0f} s")
        if number == len(left) or left[number].seed != cell.seed:
            write_study_page(out / FILE, study, pictures, command)
    study = study or _whole(described, done, cells)
    write_study_page(out / FILE, study, pictures, command)
    for part in summarise(study):
        _print(console, part)
    console.print(f"written to {out / FILE} and {out / JSON}")
    return study


def make_setting(arguments: StudyArguments) -> Setting:
    """What the study is made on.

    Raises:
        DataError: for data without masks, options that do not go together, or numbers out of range.
    """
    priors = tuple(sorted(set(arguments.priors or ()))) or None
    if not all(0 <= prior <= 1 for prior in priors or ()):
        raise DataError(f"priors are rates in 0..1; got {list(arguments.priors or ())}")
    if arguments.data == "digits":
        given: dict[str, Any] = {"--scenes": arguments.scenes, "--known-classes": arguments.known_classes}
        given |= {"--image-size": arguments.image_size, "--outliers": arguments.outliers}
        if names := [name for name, value in given.items() if value is not None]:
            raise DataError(f"the embedded digits bring their own; leave out {', '.join(names)}")
        options = replace(OPTIONS, epochs=arguments.epochs or OPTIONS.epochs)
        return DigitsSetting(priors, options, arguments.model)
    if arguments.data.startswith("digits:"):
        raise DataError("the study chooses the options of the digits itself; say digits, and --priors")
    data = _both(arguments.data)
    for source in data:
        check_masks(source, arguments.data)
    classes = data[0].classes
    known = (
        default_known(data[0])
        if arguments.known_classes is None
        else [classes[number] for number in choose_known(classes, arguments.known_classes)]
    )
    shared: dict[str, Any] = {
        "image_size": arguments.image_size or 64,
        "model": arguments.model or "compact-s",
    }
    if arguments.scenes is None:
        if arguments.priors or arguments.other_scenes or arguments.outliers:
            raise DataError("--priors, --other-scenes and --outliers go with --scenes, which objects are laid over")
        setting: Setting = PhotosSetting(data, known, arguments.data, **shared)
    else:
        other = arguments.other_scenes and _both(arguments.other_scenes)[1]
        outlier_set = arguments.outliers and _outlier_set(arguments.outliers, known)
        called = {
            "data": arguments.data,
            "scenes": arguments.scenes,
            "other_scenes": arguments.other_scenes,
            "outliers": arguments.outliers,
        }
        setting = ObjectsSetting(
            data,
            _both(arguments.scenes),
            known,
            called,
            others=other or None,
            outlier_set=outlier_set or None,
            priors=priors,
            **shared,
        )
    if arguments.epochs is not None:
        setting.options = replace(setting.options, epochs=arguments.epochs)
    return setting


def describe(setting: Setting, parts: list[str]) -> dict[str, Any]:
    """Everything that decides the figures, as JSON has it."""
    described: dict[str, Any] = {
        "setting": setting.name,
        "data": setting.describe(),
        "model": setting.model,
        "image_size": setting.image_size,
        "priors": list(setting.priors),
        "parts": parts,
        "training": setting.options.to_dict(),
    }
    whole: dict[str, Any] = json.loads(json.dumps(described))
    return whole


def typed(arguments: StudyArguments) -> list[str]:
    """The words of the command that repeats a study into the folder NEW."""
    words = ["backmix", "study", arguments.data, "--out", "NEW"]
    usual = StudyArguments()
    for name in StudyArguments.__dataclass_fields__:
        value = getattr(arguments, name)
        if name == "data" or value == getattr(usual, name):
            continue
        told = (
            ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value)
            if isinstance(value, tuple)
            else str(value)
        )
        words += [f"--{name.replace('_', '-')}", told]
    return words


def _both(spec: str) -> tuple[ImageSource, ImageSource]:
    """The training and the test images of data.

    Raises:
        DataError: when it is not divided.
    """
    splits = available_splits(spec)
    test = next((name for name in ("test", "val") if name in splits), None)
    if "train" not in splits or test is None:
        raise DataError(
            f"{spec} must be divided into train and test: the study tests on images that nothing was trained on; it "
            f"has {', '.join(splits) or 'no splits'}"
        )
    return load_source(spec, "train"), load_source(spec, test)


def _outlier_set(spec: str, known: list[str]) -> ImageSource:
    splits = available_splits(spec)
    source = load_source(spec, "train" if "train" in splits else splits[0] if splits else None)
    if same := [name for name in source.classes if name in known]:
        raise DataError(f"outliers must show no known class; {spec} has {', '.join(same)}")
    return source


def _read(path: Path, described: dict[str, Any]) -> list[dict[str, Any]]:
    """Cells that are done.

    Raises:
        DataError: when the file holds another study, or cannot be read.
    """
    if not path.exists():
        return []
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found: list[dict[str, Any]] = kept["cells"]
        setting = kept["setting"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{path} is no study that can be gone on with; move it away or give another --out") from None
    differs = [key for key in described if key != "parts" and setting.get(key) != described[key]]
    if differs:
        raise DataError(f"{path} holds a study with another {', '.join(differs).replace('_', ' ')}; give another --out")
    return found


def _is_done(cell: Cell, done: list[dict[str, Any]]) -> bool:
    """Whether a cell was measured, with estimated masks where these are asked for."""
    return any(
        all(entry[key] == value for key, value in cell.key().items())
        and (not cell.estimated or "audit_estimated" in entry or entry.get("left_out"))
        for entry in done
    )


def _whole(described: dict[str, Any], done: list[dict[str, Any]], cells: list[Cell]) -> dict[str, Any]:
    missing = sum(not _is_done(cell, done) for cell in cells)
    return {"backmix": __version__, "setting": described, "missing": missing, "cells": done}


def _told(cell: Cell, figures: dict[str, Any] | None) -> str:
    name = f"{cell.training}{'' if cell.prior is None else f', prior {cell.prior:.2f}'}, seed {cell.seed}"
    if figures is None:
        return f"{name}: there are no such outliers"
    auroc = figures["auroc"]["max_logit"].get("Kk-Qk")
    gap = figures["audit"]["background_gap"]
    return (
        f"{name}: accuracy {figures['accuracy']:.3f}"
        + (f", AUROC {auroc:.3f}" if auroc is not None else "")
        + (f", background gap {gap['value']:.3f}" if gap is not None else "")
    )


def _print(console: Console, part: Part) -> None:
    console.print(f"\n({part.key}) {part.title}")
    for sentence in part.findings:
        console.print(f"  {sentence}")
    for table in part.tables:
        shown = Table(*table.head, title=table.title)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
