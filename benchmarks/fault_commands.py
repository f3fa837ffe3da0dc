"""The commands whose work faults interrupt: how each is started, what it leaves, and which files of it are damaged."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from whole_files import read_whole

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"}
WORK = "work"
"""The last part of every folder that is written into, because pages show it."""
PASSING = ("cache", "logs")
"""Folders of which nobody needs every file."""
DIGITS = ("digits", "--known-classes", "0,1", "--model", "compact-s")


@dataclass(frozen=True)
class World:
    """What the commands work on.

    Attributes:
        root: The folder of everything.
        run: A finished run.
        photos: A folder of class folders of pictures.
        many: A folder of many small pictures, for `predict`.
        masked: A folder of Parquet files of pictures with masks, divided into train and test.
        engines: A folder with the note which engine computes features faster here.
    """

    root: Path
    run: Path
    photos: Path
    many: Path
    masked: Path
    engines: Path


@dataclass(frozen=True)
class Command:
    """A command that is killed, or started twice at once.

    Attributes:
        name: What it is called in the figures.
        words: A function that gives the words of the command line, of the world and the folder to write into.
        result: A function that gives, of that folder, what has to be the same whatever happened before.
        resume: Whether `--resume` is added when there is something to go on with.
        copies_run: Whether the command changes a run, so that the folder begins as a copy of one.
        given_engine: Whether the note which engine is faster lies there before. Two engines differ by rounding, and
            which one is faster follows from what else the machine does.
    """

    name: str
    words: Callable[[World, Path], list[str]]
    result: Callable[[Path], Any]
    resume: bool = False
    copies_run: bool = False
    given_engine: bool = False


def make_world(root: Path) -> World:
    """Train the run and draw the pictures."""
    world = World(root, root / "run", root / "photos", root / "many", root / "masked", root / "engines")
    draw_photos(world.photos, 72, {"cat": 24, "dog": 24, "owl": 24})
    draw_photos(world.many, 24, {"pictures": 1500})
    draw_masked(world.masked)
    out = root / "first"
    call(*COMMANDS["head"].words(world, out))
    world.engines.mkdir()
    for note in (out / "cache" / "engines").glob("*.json"):
        shutil.copy(note, world.engines)
    call("fit", *DIGITS, "--epochs", "3", "--batch-size", "16", "--out", world.run)
    return world


def draw_photos(folder: Path, side: int, classes: dict[str, int]) -> None:
    """Draw pictures that differ within a class and between classes."""
    random = np.random.default_rng(0)
    for number, (name, images) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for image in range(images):
            colour = np.array([60 + 60 * number, 200 - 50 * number, 90 + image % 50])
            pixels = (random.normal(0, 25, (side, side, 3)) + colour).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{image:04d}.png")


def draw_masked(folder: Path) -> None:
    """Draw squares on noise, with masks, and write them as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    random = np.random.default_rng(1)
    colours = {"blue": (30, 40, 220), "green": (40, 200, 60), "red": (220, 40, 30), "white": (240, 240, 240)}
    for split, images in (("train", 24), ("test", 12)):
        rows = []
        for name, colour in colours.items():
            for _ in range(images):
                x, y = random.integers(4, 20, 2).tolist()
                pixels = random.integers(0, 160, (32, 32, 3)).astype(np.uint8)
                mask = np.zeros((32, 32), np.uint8)
                mask[y : y + 10, x : x + 10] = 255
                pixels[mask > 0] = colour
                rows.append({"image": _png(pixels), "mask": _png(mask), "label": name})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")


def _png(pixels: np.ndarray) -> dict[str, object]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def call(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, which must be good."""
    done = subprocess.run(command_line(words), env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}")
    return done


def command_line(words: tuple[object, ...] | list[str]) -> list[str]:
    return [sys.executable, "-m", "backmix", *map(str, words)]


def begin(command: Command, world: World, out: Path) -> None:
    """Make the folder as the command finds it."""
    if command.copies_run:
        shutil.copytree(world.run, out)
    else:
        out.mkdir(parents=True)
    if command.given_engine:
        shutil.copytree(world.engines, out / "cache" / "engines")


def words_now(command: Command, world: World, out: Path, *, again: bool) -> list[str]:
    """Return the words with which the command is started, or started again."""
    return command.words(world, out) + (["--resume"] if command.resume and again else [])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_of(*names: str) -> Callable[[Path], Any]:
    """Return a function that gives the fingerprints of files of a folder."""
    return lambda out: {name: digest(out / name) for name in names}


def of_fit(out: Path) -> Any:
    found = files_of("run/model.safetensors", "run/calibration.json", "run/classes.json", "run/held-out.json")(out)
    return found | {"history": json.loads((out / "run" / "metrics.json").read_text()).get("history")}


def of_predict(name: str) -> Callable[[Path], Any]:
    def result(out: Path) -> Any:
        if name.endswith(".parquet"):
            import pyarrow.parquet as pq

            return pq.read_table(out / name).to_pylist()
        return (out / name).read_text()

    return result


def of_audit(out: Path) -> Any:
    return {path.name: digest(path) for path in sorted(out.rglob("*.csv"))} | without_times(
        out / "audit" / "audit.json"
    )


def of_report(out: Path) -> Any:
    """The page says how to repeat the training, with the path of the run."""
    text = (out / "report.html").read_text().replace(str(out), "RUN")
    return {"page": hashlib.sha256(text.encode()).hexdigest(), "config": digest(out / "config.yaml")}


def of_study(out: Path) -> Any:
    return without_times(out / "study" / "study.json")


def of_bench(out: Path) -> Any:
    rows = list(csv.DictReader(io.StringIO((out / "grid" / "results.csv").read_text())))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def without_times(path: Path) -> Any:
    """Return the content of a JSON file without what says how long something took."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(of) for key, of in value.items() if "seconds" not in key and key not in _PLACES}
        return [strip(of) for of in value] if isinstance(value, list) else value

    return strip(json.loads(path.read_text()))


_PLACES = ("out", "model", "run", "path")  # The folder differs from one trial to the next.

_FIT = ("--epochs", "5", "--batch-size", "16", "--augmentation", "backmix", "--seed", "3")


def _predict(kind: str) -> Command:
    name = f"answers.{kind}"
    return Command(
        f"predict to {kind}",
        lambda world, out: ["predict", str(world.run), str(world.many), "--out", str(out / name), "--batch-size", "8"],
        of_predict(name),
        resume=True,
    )


COMMANDS = {
    "fit": Command(
        "fit, all weights",
        lambda world, out: ["fit", *DIGITS, *_FIT, "--out", str(out / "run")],
        of_fit,
        resume=True,
    ),
    "head": Command(
        "fit, the head on cached features",
        lambda world, out: [
            *("fit", str(world.photos), "--train", "head", "--known-classes", "cat,dog", "--image-size", "96"),
            *("--cache", str(out / "cache"), "--out", str(out / "run")),
        ],
        of_fit,
        resume=True,
        given_engine=True,
    ),
    "csv": _predict("csv"),
    "json": _predict("json"),
    "parquet": _predict("parquet"),
    "audit": Command(
        "audit",
        lambda world, out: ["audit", str(world.run), "digits", "--out", str(out / "audit")],
        of_audit,
        resume=True,
    ),
    "study": Command(
        "study",
        lambda world, out: [
            *("study", str(world.masked), "--known-classes", "blue,green,red", "--parts", "d", "--seeds", "0"),
            *("--image-size", "32", "--epochs", "1", "--out", str(out / "study")),
        ],
        of_study,
    ),
    "bench": Command(
        "bench",
        lambda world, out: [
            *("bench", "digits", "--split-list", "neal", "--trials", "a,b", "--epochs", "1", "--precision", "fp32"),
            *("--detectors", "method", "--out", str(out / "grid")),
        ],
        of_bench,
    ),
    "calibrate": Command(
        "calibrate",
        lambda world, out: ["calibrate", str(out), "--accept", "0.9"],
        files_of("calibration.json", "model.safetensors", "config.yaml"),
        copies_run=True,
    ),
    "export": Command(
        "export",
        lambda world, out: ["export", str(out)],
        files_of("model.onnx", "calibration.json", "model.safetensors"),
        copies_run=True,
    ),
    "report": Command("report", lambda world, out: ["report", str(out)], of_report, copies_run=True),
    "share": Command(
        "share --dry-run",
        lambda world, out: ["share", str(world.run), "owner/name", "--dry-run", str(out / "copy")],
        lambda out: {path.name: digest(path) for path in sorted((out / "copy").iterdir()) if path.is_file()},
    ),
}


def difference(expected: Any, found: Any) -> str:
    """Return where two results differ, in a few words."""
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = [key for key in {**expected, **found} if expected.get(key) != found.get(key)]
        return "; ".join(f"{key}: {difference(expected.get(key), found.get(key))}" for key in keys[:4])
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = [(one, other) for one, other in zip(expected, found, strict=True) if one != other]
        return f"{len(pairs)} of {len(found)} differ, the first: {difference(*pairs[0])}"
    return f"{str(expected)[:100]} / {str(found)[:100]}"


def damaged(folder: Path) -> list[str]:
    """Return the files under their final names that are not whole, with the reason."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") or part in PASSING for part in name.parts)
        # Of `predict`, a file of answers grows until the one beside it goes.
        growing = path.with_name(path.name + ".progress").exists()
        if not path.is_file() or hidden or growing or path.suffix in (".part", ".progress"):
            continue
        try:
            read_whole(path)
        except Exception as error:
            found.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
    return found
