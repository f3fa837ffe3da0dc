"""Measure scaled decoding: what it costs in grey levels, and how quick it is beside full decoding and Pillow alone.

Costs are differences from full decoding of the finished square (0 to 255), for a gap of 1, 2 and 4: the smallest side
that is decoded, in sides of the wanted square. Times are processor times of one thread, in rounds in which each way has
its turn; figures are medians, and ratios medians of the ratios of a round, so that a busy machine changes little.

`backmix predict` is run on the same photographs of 12 megapixels as Pillow alone, and with --against SRC, the `src`
folder of another checkout, by both in turn. The difference of two folders leaves out the start. Ratios are given by the
clock and by processor time, which other programs affect less.

Run: OMP_NUM_THREADS=1 python benchmarks/decoding.py DATA [--against SRC] [--rounds 7] [--photos 40] [--json FILE]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from backmix.classifier import OpenSetClassifier
from backmix.data.images import open_photo
from backmix.data.load import load_source
from backmix.data.photo import GAP
from backmix.data.square import central_square
from backmix.predict.pipeline import default_workers

GAPS = (1, 2, 4)
QUALITY = 92
WIDE = (4000, 3000)
ODD = (4001, 3003)
Pixels = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of caltech101, leeds-butterfly, dtd-part and intel-scenes")
    parser.add_argument("--against", type=Path, help="the src folder of another checkout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result: dict[str, object] = {"gap": GAP, "pillow": Image.__version__, "rounds": args.rounds}
    result["cost in grey levels"] = costs(args.data)
    result["reading to 224 px"] = reading(args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        result["predict on 12 megapixels"] = predicting(Path(folder), args)
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def costs(data: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Return the mean and the largest difference from full decoding, by set of photographs and gap."""
    names = ("caltech101", "leeds-butterfly", "dtd-part", "intel-scenes")
    small = {name: photos_in(data / name, 200) for name in names}
    sets = {f"{name} at 32 px": (contents, 32) for name, contents in small.items()}
    for width, height in (WIDE, ODD):
        large = {
            "smooth": [encoded(smooth(width, height))],
            "noisy": [encoded(noisy(width, height))],
            "caltech101 enlarged": [encoded(enlarged(content, width, height)) for content in small["caltech101"][:4]],
            "dtd-part side by side": [encoded(side_by_side(small["dtd-part"], width, height))],
        }
        for size in (224, 32):
            sets |= {f"{name}, {width}x{height}, at {size} px": (of, size) for name, of in large.items()}
    return {name: {f"gap {gap}": cost(contents, size, gap) for gap in GAPS} for name, (contents, size) in sets.items()}


def cost(contents: list[bytes], size: int, gap: int) -> dict[str, float]:
    means, largest, scaled = [], 0, 0
    for content in contents:
        photo = open_photo(content, at_least=gap * size)
        full = np.asarray(open_photo(content).square(size), int)
        difference = np.abs(np.asarray(photo.square(size), int) - full)
        means.append(float(difference.mean()))
        largest = max(largest, int(difference.max()))
        scaled += photo.scale > 1
    return {"mean": round(float(np.mean(means)), 3), "largest": largest, "scaled": round(scaled / len(contents), 3)}


def reading(rounds: int) -> dict[str, dict[str, float]]:
    """Return the times of one thread for one photograph, and what they are of that of scaled or full decoding."""
    grain, plain = noisy(*WIDE), smooth(*WIDE)
    sets = {
        "noisy, 12 megapixels": encoded(grain),
        "noisy, 12 megapixels, on its side": encoded(grain, orientation=6),
        "smooth, 12 megapixels": encoded(plain),
        "noisy, 500x375": encoded(grain.crop((0, 0, 500, 375))),
    }
    ways: dict[str, Callable[[bytes], object]] = {
        "ours": lambda content: np.asarray(open_photo(content, at_least=GAP * 224).square(224)),
        "ours in full": lambda content: np.asarray(open_photo(content).square(224)),
        "as before": as_before,
        "draft and load": lambda content: drafted(content).load(),
        "draft, load and resize": lambda content: np.asarray(central_square(drafted(content), 224)),
    }
    found = {}
    for name, content in sets.items():
        times = in_turn(ways, content, rounds, repeats=1 if len(content) > 500_000 else 10)
        row = {f"{way}, ms": round(1000 * statistics.median(of), 2) for way, of in times.items()}
        row["times as quick as before"] = ratio(times["as before"], times["ours"])
        row["in full, times as quick as before"] = ratio(times["as before"], times["ours in full"])
        row["time in that of draft and load"] = ratio(times["ours"], times["draft and load"])
        row["time in that of draft, load and resize"] = ratio(times["ours"], times["draft, load and resize"])
        found[name] = row
    return found


def in_turn(
    ways: dict[str, Callable[[bytes], object]], content: bytes, rounds: int, repeats: int
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):  # The first round warms up.
        for way, call in ways.items():
            begin = time.process_time()
            for _ in range(repeats):
                call(content)
            if number:
                times[way].append((time.process_time() - begin) / repeats)
    return times


def ratio(first: list[float], second: list[float]) -> float:
    return round(statistics.median(one / other for one, other in zip(first, second, strict=True)), 3)


def as_before(content: bytes) -> Pixels:
    """Decode as backmix did before: every pixel, a copy as RGB, turned, and then the square."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return np.asarray(central_square(ImageOps.exif_transpose(image.convert("RGB")), 224))


def drafted(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.draft("RGB", (GAP * 224, GAP * 224))
    return image


def predicting(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Return the images a second of `backmix predict`, of scaled decoding alone, and of another checkout."""
    few, all_of_them, train = folder / "few", folder / "all", folder / "train"
    contents = [encoded(kind(*WIDE, seed)) for seed in range(2) for kind in (noisy, smooth)]
    for place, count in ((few, 4), (all_of_them, 4 + args.photos), (train / "a", 20), (train / "b", 20)):
        place.mkdir(parents=True)
        for number in range(count):
            (place / f"{number:03d}.jpg").write_bytes(contents[number % 4])
    source = load_source(str(train))
    run = folder / "run"
    classifier = OpenSetClassifier(source.classes, model=args.model, image_size=args.image_size)
    classifier.calibrate(source)
    classifier.save(run)
    ours = Path(__file__).resolve().parents[1] / "src"
    trees = {"backmix": ours} | ({"before": args.against.resolve()} if args.against else {})
    ways: dict[str, Callable[[Path], object]] = {"scaled decoding": partial(decode_all, size=args.image_size)}
    ways |= {name: partial(run_command, tree, run) for name, tree in trees.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(max(3, args.rounds // 2) + 1):  # The first round warms up.
        for name, way in ways.items():
            (clock, used), (clock_of_few, used_of_few) = watch(way, all_of_them), watch(way, few)
            if number:
                seconds[name].append(clock - clock_of_few)
                busy[name].append(used - used_of_few)
    row = {f"{name}, images/s": round(args.photos / statistics.median(of), 2) for name, of in seconds.items()}
    for what, times in (("by the clock", seconds), ("by processor time", busy)):
        row[f"time in that of scaled decoding alone, {what}"] = ratio(times["backmix"], times["scaled decoding"])
        if args.against:
            row[f"times as quick as before, {what}"] = ratio(times["before"], times["backmix"])
    return row | {"model": args.model, "image size": args.image_size, "threads": default_workers()}


def watch(call: Callable[[Path], object], folder: Path) -> tuple[float, float]:
    """Return the seconds and the processor seconds of a call, with those of the processes that it starts."""
    begin, before = time.perf_counter(), os.times()
    call(folder)
    return time.perf_counter() - begin, sum(os.times()[:4]) - sum(before[:4])


def decode_all(folder: Path, size: int) -> None:
    """Decode all photographs with Pillow alone, in as many threads as `predict` has."""

    def decode(path: Path) -> None:
        with Image.open(path) as image:
            image.draft("RGB", (GAP * size, GAP * size))
            np.asarray(central_square(image, size))

    with ThreadPoolExecutor(default_workers()) as pool:
        list(pool.map(decode, sorted(folder.iterdir())))


def run_command(tree: Path, run: Path, folder: Path) -> None:
    out = folder.parent / "answers.csv"
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "backmix.cli", "predict", run, folder, "--out", out]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    subprocess.run(list(map(str, command)), check=True, capture_output=True, env=environment)


def photos_in(folder: Path, count: int) -> list[bytes]:
    table = pq.ParquetFile(next(folder.glob("train-*.parquet")))
    batch = next(table.iter_batches(batch_size=count, columns=["image"]))
    return [row["image"]["bytes"] for row in batch.to_pylist()]


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


def noisy(width: int, height: int, seed: int = 0) -> Image.Image:
    """The same with the grain of a camera in the dark, a standard deviation of 12 grey levels."""
    grain = 12 * np.random.default_rng(seed).standard_normal((height, width, 3), dtype=np.float32)
    return Image.fromarray((np.asarray(smooth(width, height, seed)) + grain).clip(0, 255).astype(np.uint8))


def enlarged(content: bytes, width: int, height: int) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def side_by_side(contents: list[bytes], width: int, height: int) -> Image.Image:
    """Close-set textures as large as they are: the sharpest content of 12 megapixels."""
    picture, cells = Image.new("RGB", (width, height)), cells_of(width, height, 150)
    for number, place in enumerate(cells):
        tile = Image.open(io.BytesIO(contents[number % len(contents)])).convert("RGB")
        picture.paste(tile.resize((150, 150)), place)
    return picture


def cells_of(width: int, height: int, side: int) -> Iterator[tuple[int, int]]:
    return ((x, y) for y in range(0, height, side) for x in range(0, width, side))


def encoded(picture: Image.Image, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, exif=exif)
    return file.getvalue()


if __name__ == "__main__":
    main()
