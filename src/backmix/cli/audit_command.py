"""The work of `backmix audit`: measure whether a classifier looks at the object or at the background."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from backmix.audit.class_map import read_class_map
from backmix.audit.gather import choose_masks, gather, masks_of_unknown
from backmix.audit.journal import fingerprint, has_answers
from backmix.audit.models.base import AuditedModel, ModelOptions, check_answers
from backmix.audit.models.load import TORCHSCRIPT, load_model
from backmix.audit.page import FILE as PAGE
from backmix.audit.page import write_audit_page
from backmix.audit.pictures import FILE as PICTURES
from backmix.audit.pictures import remove_pictures
from backmix.audit.results import audit_results
from backmix.audit.rows import write_rows
from backmix.audit.run import AuditRun
from backmix.cli.arguments import AuditArguments
from backmix.cli.audit_words import say
from backmix.cli.console import image_bar, make_console, say_left_out
from backmix.cli.stop_signals import advice_when_stopped
from backmix.data.common_range import use_ranges
from backmix.data.content import HasContentKey, content_keys
from backmix.data.load import absolute, load_source, usual_split
from backmix.data.source import ImageSource, auto_image_size
from backmix.files import locked, nothing_left_of_a_refusal, write_json
from backmix.version import __version__

JSON, ROWS = "audit.json", "images.csv"

_Opened = tuple[ImageSource | None, str | None]
"""Images, and the name of their split."""


def audit_command(
    arguments: AuditArguments, out: Path, *, resume: bool = False, fail_above: float | None = None
) -> dict[str, Any]:
    """Audit a model: write audit.html, audit.json and images.csv into a folder, and print a short table.

    Args:
        arguments: The arguments of the command, which name the model and the data.
        out: The folder; it is made if it is missing.
        resume: Whether to continue the audit in the folder.
        fail_above: The largest background gap that is allowed; the page says whether the gap exceeds it.

    Returns:
        The content of audit.json.

    Raises:
        DataError: If no image is left to audit, or if the folder holds another audit.
    """
    console = make_console()
    source, split = _open(arguments.data, arguments.split)
    masks = choose_masks(arguments.masks, source, split)
    mapping = read_class_map(arguments.class_map) if arguments.class_map is not None else None
    size = arguments.image_size or auto_image_size(source)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    given = {name: of for name, of in (("mean", arguments.mean), ("std", arguments.std)) if of is not None}
    if Path(arguments.model).suffix.lower() in TORCHSCRIPT:
        console.print("A TorchScript file is a program: only load what you trust.", style="yellow")
    model = load_model(
        arguments.model, ModelOptions(image_size=arguments.image_size, default_size=size, device=device, **given)
    )
    # The answers to two grey pictures show the number of outputs, and whether there is an unknown score.
    side = model.frame.image_size
    grey = torch.full((2, 3, side, side), 128, dtype=torch.uint8)
    outputs = check_answers(model.answers(grey), grey).logits.shape[1]
    unknown = _open(arguments.unknown, arguments.unknown_split) if arguments.unknown else (None, None)
    scenes = _open(arguments.scenes, arguments.scenes_split) if arguments.scenes else (None, None)
    gathered = gather(
        source,
        masks,
        model.names,
        outputs,
        mapping,
        open_set=model.score is not None,
        unknown=unknown[0],
        unknown_masks=None if unknown[0] is None else masks_of_unknown(masks, unknown[0]),
        scenes=scenes[0],
    )
    _prepare(console, model, [source, unknown[0], scenes[0]])
    items = gathered.items
    batch_size = arguments.batch_size or (256 if side <= 64 else 64)
    settings = {
        "model": [model.kind, model.fingerprint, model.score],
        "frame": [side, model.frame.crop, model.frame.bicubic],
        "normalisation": [list(of) for of in given.values()],
        "class_map": mapping,
        "images": len(items),
        "batch_size": batch_size,
        **_asked(arguments, masks.name, (source, split), scenes, unknown),
    }
    done = _finished(out / JSON, settings) if resume and (out / PAGE).exists() else None
    if done is not None:
        _tidy(out)
        say(console, done)
        return done
    console.print(f"{len(items)} images of {side} pixels, masks: {masks.name}")
    how: dict[str, Any] = {"seed": arguments.seed, "batch_size": batch_size, "workers": arguments.workers}
    with (
        locked(out),
        nothing_left_of_a_refusal(out, partial(has_answers, out)),
        advice_when_stopped(lambda: f"what was answered is kept in {out}; the same command with --resume goes on"),
        AuditRun(model, items, gathered.matching.to_data, out, settings, resume=resume, **how) as run,
    ):
        with image_bar(console, len(items), "reading") as advance:
            run.read(advance)
        with image_bar(console, len(items), "auditing") as advance:
            audit = run.answer(advance)
        result = {
            "backmix": __version__,
            "model": {
                "name": arguments.model,
                "kind": model.kind,
                "outputs": outputs,
                "image_size": side,
                "unknown_score": model.score,
            },
            "data": {"name": arguments.data, "split": split, "scenes": arguments.scenes, "unknown": arguments.unknown},
            "seed": arguments.seed,
            **audit_results(audit, gathered, masks, model.score, seed=arguments.seed),
            "fingerprint": fingerprint(settings),
        }
        result["notes"] = [*model.notes, *result["notes"]]
        write_rows(out / ROWS, audit, gathered)
        command = typed(arguments, fail_above)
        show = partial(run.show, audit=audit)
        write_audit_page(out / PAGE, result, audit, gathered, show, command=command, fail_above=fail_above)
        write_json(out / JSON, result)
    remove_pictures(out)
    say(console, result)
    console.print(f"written to {out / PAGE}, {out / JSON} and {out / ROWS}")
    return result


def _tidy(out: Path) -> None:
    """Remove what a finished audit left that was killed at its last step, or whose disk was full then."""
    if (out / PICTURES).exists():
        with locked(out):
            remove_pictures(out)


def _asked(arguments: AuditArguments, masks: str, data: _Opened, scenes: _Opened, unknown: _Opened) -> dict[str, Any]:
    """Return what was asked for, as settings that an audit must share with the one that it goes on with."""
    return {
        "backmix": __version__,
        "data": [absolute(arguments.data), data[1], _digest(data[0])],
        "masks": [masks, absolute(arguments.masks) if masks == "given" and arguments.masks else None],
        "scenes": [arguments.scenes and absolute(arguments.scenes), scenes[1], _digest(scenes[0])],
        "unknown": [arguments.unknown and absolute(arguments.unknown), unknown[1], _digest(unknown[0])],
        "seed": arguments.seed,
    }


def _prepare(console: Console, model: AuditedModel, sources: Sequence[ImageSource | None]) -> None:
    """Say what is passed over in folders, and let deep pixels be read as a run of backmix reads them."""
    for source in sources:
        say_left_out(console, source)
        if source is not None:
            use_ranges(source, getattr(model, "value_ranges", {}))


def gap_above(result: dict[str, Any], most: float) -> str | None:
    """Return a sentence if the background gap of an audit is above `most` or cannot be given, and None otherwise."""
    gap = result["background_gap"]
    if gap is None:
        return "no image could be given another background, so there is no background gap to compare"
    if gap["value"] <= most:
        return None
    return (
        f"the background gap is {gap['value']:.3f} (95 % interval {gap['low']:.3f} to {gap['high']:.3f}), above the "
        f"{most:g} allowed"
    )


def typed(arguments: AuditArguments, fail_above: float | None = None) -> list[str]:
    """Return the words of the command that repeats an audit into the folder NEW, without options at their default."""
    words = ["backmix", "audit", arguments.model, arguments.data, "--out", "NEW"]
    for field in fields(arguments):
        value = getattr(arguments, field.name)
        if field.name in ("model", "data") or value == field.default:
            continue
        text = ",".join(str(number) for number in value) if isinstance(value, tuple) else str(value)
        words += [f"--{field.name.replace('_', '-')}", text]
    return words if fail_above is None else [*words, "--fail-above", str(fail_above)]


def _open(data: str, split: str | None) -> tuple[ImageSource, str | None]:
    """Return the images of the split, by default the test split if DATA has one, and the name of the split."""
    chosen = split or usual_split(data)
    return load_source(data, chosen, few=True), chosen


def _digest(source: ImageSource | None) -> str | None:
    """Return a name of the classes and the content of images, so that no other images are gone on with."""
    if source is None:
        return None
    digest = hashlib.sha256(repr(source.classes).encode() + source.labels.numpy().tobytes())
    if isinstance(source, HasContentKey):  # Other sources are made from their name.
        for key in content_keys(source, range(len(source))):
            digest.update(key if isinstance(key, bytes) else b"unreadable")
    return digest.hexdigest()


def _finished(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return the result of a finished audit with these settings, or None if there is none."""
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return result if result["fingerprint"] == fingerprint(settings) else None
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None
