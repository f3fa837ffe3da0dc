"""Compare two ways to train on photographs that are small: the head of published weights, or a small network anew.

    python benchmarks/small.py DATA --out runs/small      # DATA: the folder of Parquet data sets

Photographs are shrunk to a side, some classes are kept as unknown, and some photographs of each known class are used.
`backmix fit` trains the head of published weights (`--train head`), and a network of random weights for 40 epochs
(`--no-pretrained --epochs 40`), on the same folder with the same division. `LEAST_SIDE` of src/backmix/fit/choices.py
follows from the figures, so all sets are development sets here. The script writes results/small.json after each
training; a finished one is not done again. The seconds mean something only on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from backmix import __version__
from backmix.files import write_json

WAYS = {"head": ("--train", "head"), "random": ("--no-pretrained", "--epochs", "40")}
UNKNOWN = {"caltech101": 6, "msrc-v2-objects": 4, "cifar10": 4, "tiny-imagenet": 16}  # The last classes by name.
CELLS = (
    # The set, the side in pixels, and the most photographs of a known class.
    ("caltech101", 32, 100),
    ("caltech101", 64, 100),
    ("msrc-v2-objects", 32, 100),
    ("msrc-v2-objects", 64, 100),
    ("tiny-imagenet", 64, 20),
    ("tiny-imagenet", 64, 200),
    ("cifar10", 32, 20),
    ("cifar10", 32, 200),
    ("cifar10", 32, 2000),
)
STRANGERS = 50  # The most photographs of an unknown class.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/small"))
    parser.add_argument("--results", type=Path, default=Path("results/small.json"))
    parser.add_argument("--ways", default=",".join(WAYS))
    options = parser.parse_args()
    done = json.loads(options.results.read_text()) if options.results.is_file() else {"cells": []}
    for name, side, each in CELLS:
        for way in options.ways.split(","):
            cell = {"set": name, "side": side, "each": each, "way": way}
            if not any(cell.items() <= kept.items() for kept in done["cells"]):
                done["cells"].append({**cell, **run_cell(options.data, options.out, name, side, each, way)})
                write_json(options.results, {**done, "backmix": __version__, "ways": WAYS})


def run_cell(data: Path, out: Path, name: str, side: int, each: int, way: str) -> dict[str, object]:
    folder = out / f"{name}-{side}-{each}"
    if not folder.is_dir():
        write_folder(data / name, folder, UNKNOWN[name], side, each)
    known = sorted(entry.name for entry in folder.iterdir())[: -UNKNOWN[name]]
    run = out / f"run-{folder.name}-{way}"
    for place in (run, run.with_name(f"cache-{run.name}")):
        shutil.rmtree(place, ignore_errors=True)
    command = (
        "fit",
        folder,
        "--known-classes",
        ",".join(known),
        "--cache",
        run.with_name(f"cache-{run.name}"),
        "--out",
        run,
        *WAYS[way],
    )
    begin = time.monotonic()
    print("backmix", *command, flush=True)
    subprocess.run([sys.executable, "-m", "backmix", *map(str, command)], check=True)
    metrics = json.loads((run / "metrics.json").read_text())
    test = metrics["test"]
    (detector,) = test["detectors"]
    return {
        "images": metrics["images"],
        "epochs": len(metrics.get("history", [])),
        "detector": detector,
        "accuracy": test["accuracy"],
        **test["detectors"][detector],
        "seconds": round(time.monotonic() - begin, 1),
    }


def write_folder(data: Path, folder: Path, unknown: int, side: int, each: int) -> None:
    """Write photographs of a Parquet data set, shrunk, as a folder of class folders."""
    file = pq.ParquetFile(next(data.glob("train-*.parquet")))
    names = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    labels = set(file.read(columns=["label"])["label"].to_pylist())
    there = sorted(names[label] for label in labels if label >= 0)
    wanted = {name: STRANGERS if name in there[-unknown:] else each for name in there}
    for batch in file.iter_batches(1000, columns=["image", "label"]):
        for row in batch.to_pylist():
            name = names[row["label"]]
            place = folder / name
            place.mkdir(parents=True, exist_ok=True)
            number = sum(1 for _ in place.iterdir()) + 1
            if number > wanted[name]:
                continue
            image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            image.save(place / f"{number:04d}.png")


if __name__ == "__main__":
    main()
