"""Take folders of photos through all commands with no option but the known classes: train, test, export and predict.

    python benchmarks/photos.py DATA --out runs/photos      # DATA: the folder of Parquet data sets

Each data set is written as a folder of photos, and some of its classes are kept as unknown. `backmix fit` gets this
folder, the names of the known classes, and a new folder for what it keeps between runs. It is run a second time, and
once more with ten photos added: mirrored and encoded again, so that they are new to it. To compare the promised with
the observed acceptance, the held-out images, on which nothing was trained, are divided at random into two halves 20
times: one half to calibrate on and one to test on. The script writes results/photos.json after each data set; a
finished set is not done again. The seconds are those of whole commands, and mean something only on a machine that does
nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps

from backmix import __version__
from backmix.classifier import OpenSetClassifier
from backmix.files import write_json
from backmix.runs.held_out import open_share, read_shares
from backmix.threshold.by_class import decide, fit_class_thresholds
from backmix.threshold.conformal import ConformalThreshold

SPLITS, ACCEPT, ADDED = 20, 0.95, 10


@dataclass(frozen=True)
class PhotoSet:
    """A data set, its classes that are kept as unknown, and whether choices were made with its figures in sight."""

    folder: str
    unknown: tuple[str, ...]
    development: bool


SETS = (
    # The last classes in the order of their names. This was decided before anything was trained.
    PhotoSet("caltech101", ("lotus", "menorah", "minaret", "revolver", "starfish", "sunflower"), True),
    PhotoSet("leeds-butterfly", ("Vanessa atalanta", "Vanessa cardui"), True),
    PhotoSet("msrc-v2-objects", ("flower", "person", "sheep", "sign"), True),
    # These were evaluated once, after all choices were made.
    PhotoSet("intel-scenes", ("sea", "street"), False),
    PhotoSet("eth80", ("cup",), False),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/photos"))
    parser.add_argument("--results", type=Path, default=Path("results/photos.json"))
    parser.add_argument("--sets", default=",".join(each.folder for each in SETS if each.development))
    options = parser.parse_args()
    done = json.loads(options.results.read_text()) if options.results.is_file() else {"sets": {}}
    for photos in SETS:
        if photos.folder in options.sets.split(",") and photos.folder not in done["sets"]:
            done["sets"][photos.folder] = run_set(photos, options.data, options.out)
            done |= {"backmix": __version__, "accept": ACCEPT, "splits": SPLITS, "added": ADDED}
            write_json(options.results, done)


def run_set(photos: PhotoSet, data: Path, out: Path) -> dict[str, object]:
    folder, run = out / photos.folder, out / f"run-{photos.folder}"
    if not folder.is_dir():
        write_folder(data / photos.folder, folder)
    known = sorted(entry.name for entry in folder.iterdir() if entry.name not in photos.unknown)
    grown = add_photos(folder, out / f"{photos.folder}-grown", known)
    # What is kept between runs is new, so that the first fit is the first on its machine.
    cache = out / f"cache-{photos.folder}"
    os.environ["BACKMIX_CACHE"] = str(cache.absolute())
    shutil.rmtree(cache, ignore_errors=True)
    seconds, computed = {}, {}
    for name, images in (("fit", folder), ("fit again", folder), ("fit grown", grown)):
        place = run if name == "fit" else out / f"run-{photos.folder}-{name.split()[1]}"
        shutil.rmtree(place, ignore_errors=True)
        seconds[name] = command("fit", images, "--known-classes", ",".join(known), "--out", place)
        computed[name] = json.loads((place / "metrics.json").read_text())["head"]["computed"]
    seconds["report"] = command("report", run)
    seconds["export"] = command("export", run, "--format", "onnx")
    answers = {}
    for model in (run, run / "model.onnx"):
        table = out / f"answers-{photos.folder}-{'onnx' if model != run else 'run'}.jsonl"
        seconds["predict " + table.stem.rpartition("-")[2]] = command(
            "predict", model, folder, "--out", table, "--overwrite"
        )
        answers[model == run] = [json.loads(line) for line in table.read_text().splitlines()]
    different = sum(one["label"] != other["label"] for one, other in zip(answers[True], answers[False], strict=True))
    worst = max(
        abs(one["unknown_score"] - other["unknown_score"])
        for one, other in zip(answers[True], answers[False], strict=True)
    )
    metrics = json.loads((run / "metrics.json").read_text())
    classifier = OpenSetClassifier.load(run)
    chosen = metrics["head"]["unknown_score"]
    return {
        "development": photos.development,
        "known": len(known),
        "unknown": list(photos.unknown),
        "model": classifier.settings["model"],
        "image_size": classifier.settings["image_size"],
        "images": metrics["images"],
        "seconds": seconds,
        "computed": computed,
        "detector": classifier.detector,
        "left_out_auroc": chosen and chosen["auroc"],
        "test": {
            "images": metrics["test"]["images"],
            "accuracy": metrics["test"]["accuracy"],
            **metrics["test"]["detectors"][classifier.detector],
        },
        "max_logit": classifier.evaluate(test_images(run), detectors=["max_logit"])["detectors"]["max_logit"],
        "report_bytes": (run / "report.html").stat().st_size,
        "onnx": {
            "bytes": (run / "model.onnx").stat().st_size,
            "images": len(answers[True]),
            "different_answers": different,
            "largest_score_difference": worst,
        },
        "acceptance": acceptance(classifier, run),
    }


def test_images(run: Path):
    """Return the images that the run kept for its test, known and unknown."""
    shares = read_shares(run)
    return open_share(shares, shares.test)


def add_photos(folder: Path, grown: Path, known: list[str]) -> Path:
    """Copy a folder of photos, and add ten photos to it: some of its own, mirrored and encoded again."""
    shutil.rmtree(grown, ignore_errors=True)
    shutil.copytree(folder, grown)
    for number in range(ADDED):
        place = grown / known[number % len(known)]
        path = sorted(place.iterdir())[number]
        ImageOps.mirror(Image.open(path).convert("RGB")).save(place / f"added-{number}.jpg", quality=95)
    return grown


def acceptance(classifier: OpenSetClassifier, run: Path) -> dict[str, object]:
    """Return the shares of held-out images that are accepted.

    The images are divided at random into a half to calibrate on and a half to test on.
    """
    shares = read_shares(run)
    parts = []
    for share in (shares.calibration, shares.test):
        source = open_share(shares, share)
        rows = (classifier.labels_for(source) >= 0).nonzero().flatten().tolist()
        outputs, scores, _ = classifier.scores(source, [classifier.detector], positions=rows)
        parts.append((scores[classifier.detector], outputs.logits.argmax(1)))
    scores, predicted = (torch.cat(of) for of in zip(*parts, strict=True))
    half = len(scores) // 2
    found: dict[str, list[float]] = {"overall": [], "per_class": []}
    for seed in range(SPLITS):
        order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
        held, fresh = order[:half], order[half:]
        overall = ConformalThreshold.fit(scores[held], ACCEPT)
        own = fit_class_thresholds(scores[held], predicted[held], len(classifier.classes), ACCEPT)
        for name, by_class in (("overall", None), ("per_class", own)):
            accepted = decide(scores[fresh], predicted[fresh], overall, by_class)[0]
            found[name].append(float(accepted.double().mean()))
    fresh_images = len(scores) - half
    return {
        "held_out": half,
        "tested": fresh_images,
        "chance": (ACCEPT * (1 - ACCEPT) * (1 / half + 1 / fresh_images)) ** 0.5,
        **found,
    }


def command(*arguments: object) -> float:
    """Run `backmix`, and return the seconds that it took."""
    begin = time.monotonic()
    print("backmix", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "backmix", *map(str, arguments)], check=True)
    return round(time.monotonic() - begin, 1)


def write_folder(data: Path, folder: Path) -> None:
    """Write a Parquet data set as a folder of class folders, with the train and test images together."""
    for split in ("train", "test"):
        file = pq.ParquetFile(next(data.glob(f"{split}-*.parquet")))
        names = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
        for batch in file.iter_batches(1000, columns=["image", "label"]):
            for row in batch.to_pylist():
                place = folder / names[row["label"]]
                place.mkdir(parents=True, exist_ok=True)
                number = sum(1 for _ in place.iterdir()) + 1
                (place / f"{split}-{number:03d}.jpg").write_bytes(row["image"]["bytes"])


if __name__ == "__main__":
    main()
