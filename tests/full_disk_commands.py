"""What every command leaves on a disk that gets full at each of its writes: `sweep`."""

import csv
import io
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from unittest import mock

import numpy as np
import torch
from benchmark_rows import rows_of
from full_disk import full_disk
from PIL import Image
from whole_files import read_whole

from backmix import cli
from backmix.benchmark.results import write_results
from backmix.predict import file as answers

COLOURS = {"red": (200, 40, 40), "green": (40, 190, 60), "blue": (50, 60, 200)}
TRAINING = ["--model", "compact-s", "--batch-size", "8", "--precision", "fp32", "--workers", "1", "--lr", "0.05"]
UNFINISHED = (".part", ".progress")
# What may differ: figures of the clock and how many features were not in the cache; the cache, the temporary folder.
CLOCK = re.compile(rb'("(?:\w*seconds|wall|created|date|images_per_second|per_second|computed)": )[^,\n}]*')
LOGS = re.compile("(^|/)logs/")  # Their names hold times.
PASSING = ("cache", "temporary")


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        words: The words of the command line. `run`, `out`, `data` and `photos` in braces are paths.
        more: The words that are added to go on after an error.
        run: Whether a finished run lies there before, with a report, an exported file and figures.
    """

    words: str
    more: tuple[str, ...] = ()
    run: bool = True


COMMANDS = {
    "fit": Command("fit digits --known-classes 0,1 --epochs 2 --out {out} " + " ".join(TRAINING), ("--resume",), False),
    "fit-photos": Command("fit {data} --epochs 1 --out {out} " + " ".join(TRAINING), ("--resume",), False),
    "fit-head": Command(
        "fit {data} --train head --model test_efficientnet --image-size 32 --precision fp32 --workers 1 --out {out}",
        ("--resume",),
        False,
    ),
    # One image at a time: the last digits of a score follow the images that it is computed beside.
    **{
        f"predict-{kind}": Command(f"predict {{run}} {{photos}} --batch-size 1 --out {{out}}/a.{kind}", ("--resume",))
        for kind in ("csv", "json", "jsonl", "parquet")
    },
    "predict-sorted": Command(
        "predict {run} {photos} --batch-size 1 --out {out}/answers.csv --sort-into {out}", ("--resume",)
    ),
    "audit": Command("audit {run} {data} --split test --masks centre --out {out}", ("--resume",)),
    "calibrate": Command("calibrate {run} {data} --split test --accept 0.5 --workers 1"),
    "evaluate": Command("evaluate {run} {data} --split test --json {run}/figures.json --workers 1"),
    "report": Command("report {run} --data {data} --split test --workers 1"),
    "onnx": Command("export {run} --workers 1"),
    "torchscript": Command("export {run} --format torchscript --workers 1"),
    "share": Command("share {run} someone/run --dry-run {out}/copy"),
    "bench": Command(
        "bench digits --trials a --methods softmax --augmentations none --seeds 0 --epochs 1 --precision fp32 "
        "--detectors method --workers 1 --out {out}",
        run=False,
    ),
    "tables": Command("tables {results} --out {out}", run=False),
    "study": Command("study --parts d --priors 0.9 --seeds 0 --epochs 1 --workers 1 --out {out}", run=False),
    "demo": Command("demo --seeds 1 --epochs 1 --out {out}", run=False),
}


@dataclass
class Swept:
    """What came of the attempts with one command.

    Attributes:
        command: The name of the command.
        operations: The number of operations of the untouched command that need room on the disk.
        tried: The numbers of the operations from which on the disk was full, one attempt each.
        lost: What an attempt lost, or told badly, in words. It should be empty.
    """

    command: str
    operations: int
    tried: list[int] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def make_materials(folder: Path) -> Path:
    """Make what the commands read: pictures, a run with all its files, and results of a grid."""
    random = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 4)):
        for name, colour in COLOURS.items():
            (folder / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.normal(colour, 25, (40, 40, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "data" / split / name / f"{number}.png")
    run = folder / "run"
    places = {"run": run, "data": folder / "data"}
    for words in (
        f"fit {{data}} --epochs 1 --out {{run}} {' '.join(TRAINING)}",
        "evaluate {run} {data} --split test --json {run}/figures.json --workers 1",
    ):
        status, said = typed(words.format(**places).split())
        assert status == 0, said
    (run / "checkpoint.pt").unlink()
    shutil.rmtree(run / "logs", ignore_errors=True)
    for name in ("report.html", "model.onnx", "model.pt"):
        (run / name).write_text("what was there before </html>")
    values = {"none": {"a": [0.7, 0.72], "b": [0.74, 0.75]}, "backmix": {"a": [0.8, 0.81], "b": [0.83, 0.8]}}
    write_results(folder / "grid" / "results.csv", rows_of("auroc", values))
    return folder


def typed(words: list[str]) -> tuple[int, str]:
    """Call the command line in this process; return the exit status and all that it said."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), mock.patch.object(sys, "argv", ["backmix", *words]):
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
    return status, said.getvalue()


def sweep(
    name: str,
    materials: Path,
    folder: Path,
    *,
    draw: int | None = None,
    seed: int = 0,
    on_try: Callable[[int, str], None] = lambda at, said: None,
) -> Swept:
    """Run a command with room, and again with a disk that is full from its k-th operation on.

    Args:
        name: The command, a key of `COMMANDS`.
        materials: The folder of `make_materials`.
        folder: An empty folder, in which all this happens.
        draw: How many k are drawn; None: every k.
        seed: The seed of the draw.
        on_try: A function that is called after each attempt with k and what the command said.
    """
    command = COMMANDS[name]
    disk = folder / "disk"
    places = {
        "run": disk / "run",
        "out": disk / "out",
        "data": materials / "data",
        "photos": materials / "data" / "test",
        "results": materials / "grid" / "results.csv",
    }
    words = command.words.format(**places).split()
    with (
        mock.patch.dict(os.environ, {"BACKMIX_CACHE": str(disk / "cache"), "COLUMNS": "10000"}),
        mock.patch.object(tempfile, "tempdir", str(disk / "temporary")),
        mock.patch.object(answers, "SAFE_EVERY", 0.0),  # Else the number of operations would follow the clock.
    ):
        before = _put(command, materials, disk)
        with full_disk(disk) as counted:
            status, said = typed(words)
        assert status == 0, said
        whole = _content(disk)
        result = Swept(name, counted.done)
        every = range(1, counted.done + 1)
        chosen = every if draw is None else sorted(Random(seed).sample(every, min(draw, len(every))))
        for at in chosen:
            _put(command, materials, disk)
            with full_disk(disk, at) as full:
                try:
                    status, said = typed(words)
                except BaseException as error:
                    if isinstance(error, KeyboardInterrupt):
                        raise
                    status, said = -1, f"{type(error).__name__}: {error}"
            result.tried.append(at)
            where = "{}, full from operation {} ({} {})".format(
                name, at, *(full.log[at - 1] if full.done >= at else "??")
            )
            wrong = _told(status, said, disk, full.log[at - 1][1] if full.done >= at else "")
            wrong += _damage(disk, before, whole) if status else _differences(_content(disk), whole)
            on_try(at, said)
            status, said = typed([*words, *command.more])
            if status and command.more:
                status, said = typed(words)
            wrong += [f"with room again: {said.strip()[-400:]}"] if status else []
            wrong += [f"with room again: {each}" for each in _differences(_content(disk), whole) if not status]
            result.lost += [f"{where}: {each}" for each in wrong]
    return result


def _put(command: Command, materials: Path, disk: Path) -> dict[str, bytes]:
    """Empty the disk, and put on it what lies there before the command."""
    shutil.rmtree(disk, ignore_errors=True)
    (disk / "temporary").mkdir(parents=True)
    if command.run:
        shutil.copytree(materials / "run", disk / "run")
    return _content(disk)


def _content(disk: Path) -> dict[str, bytes]:
    """Return the content of every file on the disk, without times."""
    found = {}
    for path in sorted(disk.rglob("*")):
        name = path.relative_to(disk).as_posix()
        if path.is_file() and not name.startswith(PASSING) and not LOGS.search(name):
            found[name] = _timeless(path)
    left = [path.name for path in (disk / "temporary").glob("*")]
    return {**found, **{f"temporary/{name}": b"" for name in left}}


def _timeless(path: Path) -> bytes:
    if path.name == "model.pt" and zipfile.is_zipfile(path):
        # Its classes are numbered through a process. The weights and the description are the same each time.
        with zipfile.ZipFile(path) as archive:
            named = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        kept = {name: of for name, of in named.items() if name.startswith(("data/", "constants", "extra/"))}
        assert any(name.startswith("data/") for name in kept) and any(name.startswith("extra/") for name in kept)
        return repr(sorted(kept.items())).encode()
    if path.name == "checkpoint.pt":
        state = torch.load(path, map_location="cpu", weights_only=True)
        for entry in state["history"]:
            entry.pop("seconds", None)
        return _plain(state).encode()
    if path.name == "results.csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        return repr([{**row, "seconds": 0} for row in rows]).encode()
    return CLOCK.sub(rb"\g<1>0", path.read_bytes())


def _plain(value: object) -> str:
    if isinstance(value, torch.Tensor):
        raw = value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.ndim else repr(value)
        return f"{value.dtype}{tuple(value.shape)}{hash(raw)}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_plain(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_plain, value)) + "]"
    return repr(value)


def _told(status: int, said: str, disk: Path, path: str) -> list[str]:
    """Return what is wrong with the end of a command whose disk got full at `path`."""
    if status == 0:
        return []
    wrong = [] if status == 1 else [f"exit status {status}"]
    last = [line for line in said.splitlines() if "No space left on device" in line]
    if not last:
        wrong.append(f"the message does not say that the disk is full: {said.strip()[-400:]!r}")
    elif str(disk) not in last[-1] or "standard output" in last[-1]:
        wrong.append(f"the message names no file: {last[-1]!r}")
    elif not last[-1].startswith(("backmix: ", "failed: ")):
        wrong.append(f"no sentence: {last[-1]!r}")
    if "Traceback" in said:
        wrong.append("a traceback is shown")
    return wrong


def _differences(found: dict[str, bytes], whole: dict[str, bytes]) -> list[str]:
    names = sorted({*found, *whole})
    return [
        f"{name} {'is missing' if name not in found else 'is too many' if name not in whole else 'differs'}"
        for name in names
        if found.get(name) != whole.get(name)
    ]


def _damage(disk: Path, before: dict[str, bytes], whole: dict[str, bytes]) -> list[str]:
    """Return what is neither as it was, nor as the untouched command leaves it, nor readable."""
    wrong = [f"{name} was there before and is gone" for name in before if not (disk / name).is_file()]
    for path in sorted(disk.rglob("*")):
        name = path.relative_to(disk).as_posix()
        hidden = any(part.startswith(".") for part in Path(name).parts) or name.startswith(PASSING)
        hidden |= bool(LOGS.search(name))
        if not path.is_file() or hidden or path.name.endswith(UNFINISHED):
            continue
        if name not in before and path.with_name(path.name + ".progress").exists() and path.suffix == ".json":
            continue  # The bracket at its end could not be written, and the journal beside it says so.
        try:
            content = _timeless(path)
            if content in (before.get(name), whole.get(name)):
                continue
            if name in before:
                wrong.append(f"{name} was there before and is another")
            read_whole(path)
        except Exception as error:
            wrong.append(f"{name} is damaged: {type(error).__name__}: {error}")
    return wrong
