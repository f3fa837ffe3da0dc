"""Take folders of photos through all commands: train, calibrate, test, export and predict.

    python benchmarks/photos.py DATA --out runs/photos      # DATA: the folder of Parquet data sets

Each data set is written as a folder of photos, and some of its classes are kept as unknown. `backmix fit` gets this
folder and chooses its own settings. To compare the promised with the observed acceptance, the held-out images, on which
nothing was trained, are divided at random into two halves 20 times: one half to calibrate on and one to test on. The
script writes results/photos.json after each data set; a finished set is not done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch

from backmix import __version__
from backmix.classifier import OpenSetClassifier
from backmix.files import write_json
from backmix.runs.held_out import open_share, read_shares
from backmix.threshold.by_class import decide, fit_class_thresholds
from backmix.threshold.conformal import ConformalThreshold

SPLITS, ACCEPT = 20, 0.95


@dataclass(frozen=True)
class PhotoSet:
    """A data set, and its classes that are kept as unknown."""

    folder: str
    unknown: tuple[str, ...]


SETS = (
    # The last six classes in the order of their names. This was decided before anything was trained.
    PhotoSet("caltech101", ("lotus", "menorah", "minaret", "revolver", "starfish", "sunflower")),
    PhotoSet("leeds-butterfly", ("Vanessa atalanta", "Vanessa cardui")),
    PhotoSet("msrc-v2-objects", ("flower", "person", "sheep", "sign")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/photos"))
    parser.add_argument("--results", type=Path, default=Path("results/photos.json"))
    parser.add_argument("--budget", default="6m")
    parser.add_argument("--sets", default=",".join(each.folder for each in SETS))
    options = parser.parse_args()
    done = json.loads(options.results.read_text()) if options.results.is_file() else {"sets": {}}
    for photos in SETS:
        if photos.folder in options.sets.split(",") and photos.folder not in done["sets"]:
            done["sets"][photos.folder] = run_set(photos, options.data, options.out, options.budget)
            done |= {"backmix": __version__, "budget": options.budget, "accept": ACCEPT, "splits": SPLITS}
            write_json(options.results, done)


def run_set(photos: PhotoSet, data: Path, out: Path, budget: str) -> dict[str, object]:
    folder, run = out / photos.folder, out / f"run-{photos.folder}"
    if not folder.is_dir():
        write_folder(data / photos.folder, folder)
    known = sorted(entry.name for entry in folder.iterdir() if entry.name not in photos.unknown)
    seconds = {}
    if not (run / "metrics.json").is_file():
        asked = ["--known-classes", ",".join(known), "--augmentation", "backmix", "--budget", budget, "--resume"]
        # An exported file computes in float32, so the run that it is compared with must do so too.
        asked += ["--precision", "fp32"]
        seconds["fit"] = command("fit", folder, *asked, "--out", run)
    seconds["calibrate"] = command("calibrate", run, "--accept", ACCEPT)
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
    return {
        "known": len(known),
        "unknown": list(photos.unknown),
        "model": classifier.settings["model"],
        "image_size": classifier.settings["image_size"],
        "epochs": len(metrics["history"]),
        "images": metrics["images"],
        "fit_seconds": metrics["seconds"],
        "seconds": seconds,
        "test": {
            "images": metrics["test"]["images"],
            "accuracy": metrics["test"]["accuracy"],
            **metrics["test"]["detectors"][classifier.detector],
        },
        "report_bytes": (run / "report.html").stat().st_size,
        "onnx": {
            "bytes": (run / "model.onnx").stat().st_size,
            "images": len(answers[True]),
            "different_answers": different,
            "largest_score_difference": worst,
        },
        "acceptance": acceptance(classifier, run),
    }


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
