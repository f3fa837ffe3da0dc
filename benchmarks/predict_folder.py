"""Measure the speed and the memory of `backmix predict` on a folder, and the speed of decoding and of the model alone.

The images are generated JPEG files of 64 to 160 px, and the network is not trained. The command runs in a process of
its own, on a tenth of the pictures and on all of them. The difference of the two times does not include the start.

Run: python benchmarks/predict_folder.py [--images 20000] [--image-size 32] [--model compact-s] [--workers 1,2]
     [--onnx] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from backmix.classifier import OpenSetClassifier
from backmix.data.images import open_image
from backmix.data.load import load_source
from backmix.data.square import central_square
from backmix.predict.paths import find_images
from backmix.predict.pipeline import default_batch_size
from backmix.predict.predictor import load_predictor

_WATCH = """
import resource, subprocess, sys, time
begin = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--model", default="compact-s")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--onnx", action="store_true", help="export the network and predict with the file")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), args)
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    few, all_of_them = folder / "few", folder / "all"
    make_pictures(few, args.images // 10)
    make_pictures(all_of_them, args.images)
    source = load_source(str(few))
    classifier = OpenSetClassifier(source.classes, model=args.model, image_size=args.image_size)
    classifier.calibrate(source, positions=range(200))
    model = folder / "run"
    classifier.save(model)
    if args.onnx:
        from backmix.cli.export_command import export_command

        export_command(model)
        model /= "model.onnx"
    result: dict[str, object] = {**vars(args), "json": None, "processors": os.cpu_count()}
    result["model alone"] = model_speed(model)
    for workers in map(int, args.workers.split(",")):
        result[f"decoding alone with {workers} threads"] = decoding_speed(few, args.image_size, workers)
        small = run_command(model, few, folder / f"few-{workers}.csv", workers)
        large = run_command(model, all_of_them, folder / f"all-{workers}.csv", workers)
        result[f"predict with {workers} threads"] = {
            "images/s": round((args.images - args.images // 10) / (large[0] - small[0])),
            "images per second of processor": round((args.images - args.images // 10) / (large[1] - small[1])),
            "seconds of its start": round(small[0] - (large[0] - small[0]) / 9, 1),
            "peak MiB, a tenth and all": [small[2], large[2]],
        }
    return result


def make_pictures(folder: Path, number: int) -> None:
    random = np.random.default_rng(0)
    made: list[Path] = []
    for n in range(number):
        path = folder / f"{n % 20:02d}" / f"{n:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if n < 500:
            width, height = random.integers(64, 161, 2)
            first, second = random.integers(0, 256, (2, 3))
            ramp = np.linspace(0, 1, width)[:, None]
            pixels = first * ramp + second * (1 - ramp) + random.normal(0, 12, (height, width, 1))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=80)
            made.append(path)
        else:
            path.write_bytes(made[n % 500].read_bytes())


def decoding_speed(folder: Path, size: int, workers: int) -> dict[str, int]:
    def decode(path: str) -> None:
        np.asarray(central_square(open_image(path), size))

    paths = [found.path for found in find_images([folder])]
    with ThreadPoolExecutor(workers) as pool:
        return speed(lambda: list(pool.map(decode, paths)), len(paths))


def model_speed(path: Path) -> dict[str, int]:
    model = load_predictor(path)
    size = model.image_size
    batch = default_batch_size(size)
    images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
    names = list(map(str, range(batch)))
    return speed(lambda: model.answer(images, names, top=3), batch)


def speed(call: Callable[[], object], images: int) -> dict[str, int]:
    """Return images per second by the clock and by processor time; other programs affect the latter less."""
    call()
    begin, busy, rounds = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begin < 5:
        call()
        rounds += 1
    done = rounds * images
    return {
        "images/s": round(done / (time.perf_counter() - begin)),
        "images per second of processor": round(done / (time.process_time() - busy)),
    }


def run_command(model: Path, folder: Path, out: Path, workers: int) -> tuple[float, float, int]:
    """Return the seconds, the processor seconds, and the peak memory in MiB."""
    command = [sys.executable, "-m", "backmix.cli", "predict", model, folder, "--out", out, "--workers", workers]
    # A small process starts the command, because the peak memory of a process includes the peak of its parent.
    watch = [sys.executable, "-c", _WATCH, *map(str, command)]
    seconds, busy, peak = subprocess.run(watch, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(busy), int(peak) // 1024


if __name__ == "__main__":
    main()
