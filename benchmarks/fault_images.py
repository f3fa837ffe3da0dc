"""Alter picture files of every format, and have `predict` and `fit` read them among healthy ones."""

from __future__ import annotations

import csv
import io
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from fault_commands import ENVIRONMENT, World, command_line
from PIL import Image

SIDE = (48, 40)


def altered_images(world: World, number: int, seed: int) -> dict[str, Any]:
    """Alter pictures, predict them, train on them, and count what came of it.

    Args:
        world: Its run predicts.
        number: The number of altered files.
        seed: The seed of the mutator.
    """
    dice, whole = random.Random(seed), healthy()
    formats: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=world.root) as place:
        folder, alone = Path(place) / "photos", Path(place) / "healthy"
        for sub in ("one", "two"):
            (folder / sub).mkdir(parents=True)
            (alone / sub).mkdir(parents=True)
        for at, (suffix, content) in enumerate(sorted(whole.items())):
            for sub in (folder, alone):
                (sub / ("one", "two")[at % 2] / f"healthy{suffix}").write_bytes(content)
        for at in range(number):
            suffix = sorted(whole)[at % len(whole)]
            formats[suffix] += 1
            content = mutate(dice, whole[suffix])
            (folder / dice.choice(("one", "two")) / f"altered-{at:04d}{suffix}").write_bytes(content)
        usual = _predict(world, alone, Path(place) / "alone.csv")["rows"]
        came = _predict(world, folder, Path(place) / "all.csv")
        trained = _fit(folder, Path(place) / "run")
    lost = [f"{name}: {text}" for name, part in (("predict", came), ("fit", trained)) for text in part["lost"]]
    rows = came["rows"]
    if len(rows) != number + len(whole):
        lost.append(f"predict: {len(rows)} rows of {number + len(whole)} files")
    for name, row in usual.items():
        if rows.get(name) != row:
            lost.append(f"predict: a healthy {name} is answered otherwise beside altered files")
    altered = [row for name, row in rows.items() if "altered" in name]
    for row in altered:
        if bool(row["label"]) == bool(row["error"]):
            lost.append(f"predict: neither an answer nor an error: {row}")
    return {
        "files": number,
        "formats": len(formats),
        "answered": sum(bool(row["label"]) for row in altered),
        "named as unreadable": sum(bool(row["error"]) for row in altered),
        "predict": {key: came[key] for key in ("seconds", "MiB")},
        "fit": {key: trained[key] for key in ("seconds", "MiB")},
        "lost": lost,
    }


def healthy() -> dict[str, bytes]:
    """Return one picture in every format that is read, by its suffix."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE[1], SIDE[0], 3)).astype(np.uint8)
    pixels = (0.3 * pixels + 0.7 * np.linspace(0, 255, SIDE[0])[None, :, None]).astype(np.uint8)
    picture = Image.fromarray(pixels)
    found = {}
    for suffix, kind, options in (
        (".jpg", "JPEG", {"quality": 85, "exif": _exif()}),
        (".jpeg", "JPEG", {"quality": 85, "progressive": True}),
        (".png", "PNG", {}),
        (".gif", "GIF", {}),
        (".bmp", "BMP", {}),
        (".webp", "WEBP", {"quality": 80}),
        (".tif", "TIFF", {"compression": "tiff_lzw"}),
        (".ppm", "PPM", {}),
        (".avif", "AVIF", {}),
        (".heic", "HEIF", {}),
        (".jxl", "JXL", {}),
    ):
        buffer = io.BytesIO()
        try:
            _register()
            picture.save(buffer, kind, **options)
        except (KeyError, OSError):  # This Pillow cannot write it.
            continue
        found[suffix] = buffer.getvalue()
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels.astype(np.uint16) * 257, photometric="rgb", compression="zlib")
    return {**found, ".tiff": buffer.getvalue()}


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # It lies on its side.
    return exif.tobytes()


def _register() -> None:
    """Let Pillow write HEIC and JPEG XL, where the extra `formats` is installed."""
    try:
        import pillow_heif
        import pillow_jxl  # noqa: F401

        pillow_heif.register_heif_opener()
    except ImportError:
        pass


def mutate(dice: random.Random, content: bytes) -> bytes:
    """Return another file than a healthy one: bits, numbers in its head, cuts, zeros, parts twice or elsewhere."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        # Heads hold the sizes, so half of the changes fall there.
        at = dice.randrange(min(len(data), 64) if dice.random() < 0.5 else len(data))
        match dice.choice(("bit", "byte", "number", "cut", "zeros", "twice", "move", "noise")):
            case "bit":
                data[at] ^= 1 << dice.randrange(8)
            case "byte":
                data[at] = dice.choice((0, 1, 127, 128, 255))
            case "number":
                data[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\1\0\0"))
            case "cut":
                del data[max(at, 8) :]
            case "zeros":
                data[at : at + 32] = bytes(len(data[at : at + 32]))
            case "twice":
                data[at:at] = data[at : at + dice.randrange(1, 200)]
            case "move":
                part = data[at : at + 40]
                del data[at : at + 40]
                data[len(data) // 2 : len(data) // 2] = part
            case "noise":
                data[at:at] = dice.randbytes(dice.randrange(1, 20))
        if not data:
            data = bytearray(b"\0")
    return bytes(data) if bytes(data) != content else content[:-1]


def _predict(world: World, folder: Path, out: Path) -> dict[str, Any]:
    found = _run(["predict", world.run, folder, "--out", out])
    with open(out, newline="") as file:
        rows = {Path(row["path"]).relative_to(folder).as_posix(): row for row in csv.DictReader(file)}
    # The place differs, the answer must not.
    return {**found, "rows": {name: {**row, "path": ""} for name, row in rows.items()}}


def _fit(folder: Path, out: Path) -> dict[str, Any]:
    words = ["fit", folder, "--model", "compact-s", "--image-size", "32", "--epochs", "1", "--batch-size", "16"]
    found = _run([*words, "--near-duplicates", "--min-images", "1", "--out", out])
    shutil.rmtree(out, ignore_errors=True)
    return found


def _run(words: list[object]) -> dict[str, Any]:
    """Run a command, and return its time, its memory, and what a person must not see."""
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as screen:
        process = subprocess.Popen(command_line(tuple(words)), env=ENVIRONMENT, stdout=screen, stderr=screen)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = code = os.waitstatus_to_exitcode(status)
        screen.seek(0)
        said = screen.read()
    lost = [f"{text} on the screen: {said[-300:]}" for text in ("Traceback", "Segmentation", "Warning") if text in said]
    if code not in (0, 1):
        lost.append(f"ended with {code}")
    if not said:
        lost.append("said nothing")
    return {"seconds": round(time.monotonic() - start, 1), "MiB": used.ru_maxrss // 1024, "lost": lost}
