"""Train all methods with and without BackMix, and softmax with all augmentations, on one split, recipe and seed.

In the test, images of classes that are not known count as unknown. All cells share network, recipe, epochs, order and
crops; nothing is chosen by test images or unknowns. Methods that learn from outliers take BackMix's backgrounds of the
training images. Cells that the file already holds are not run again, so the grid can be run one part at a time.

Each cell records the processor seconds of its training. With OMP_NUM_THREADS=1 they are comparable even if other
programs run on the machine.

Run: OMP_NUM_THREADS=1 python benchmarks/methods.py DATA [--known-classes 2,3,4,5,6,7] [--epochs 4]
         [--methods NAME ...] [--augmentations NAME ...] [--json results/methods.json]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from cells import run_cells
from PIL import Image

from backmix import OpenSetClassifier
from backmix.augmentations import AUGMENTATIONS
from backmix.data.load import choose_known, load_source
from backmix.data.loader import decode
from backmix.data.preprocess import Preprocess
from backmix.data.source import ImageSource, Subset
from backmix.fit.auto_options import auto_options
from backmix.fit.training import fit
from backmix.methods import METHODS
from backmix.train.loop import make_accelerator


class Decoded:
    """A source whose images are decoded once for all cells."""

    def __init__(self, source: ImageSource, preprocess: Preprocess, workers: int) -> None:
        self.images = decode(source, source.labels, preprocess, workers=workers).images
        self.classes, self.labels = source.classes, source.labels

    def __len__(self) -> int:
        return len(self.images)

    def read(self, i: int) -> Image.Image:
        return Image.fromarray(self.images[i].permute(1, 2, 0).numpy())

    def read_mask(self, i: int) -> None:
        return None

    def name(self, i: int) -> str:
        return str(i)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--known-classes", default="2,3,4,5,6,7")
    parser.add_argument("--model", default="compact-s")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=None, help="use only so many training images, for a quick look")
    trained = [name for name, method in METHODS.items() if not method.learns_at_once]
    parser.add_argument("--methods", nargs="*", default=trained, choices=trained)
    parser.add_argument("--augmentations", nargs="*", default=["swap", *AUGMENTATIONS], metavar="NAME")
    parser.add_argument("--json", type=Path, default=Path("results/methods.json"))
    args = parser.parse_args()
    preprocess = Preprocess(args.image_size)
    train: ImageSource = Decoded(load_source(args.data, "train"), preprocess, 2)
    test = Decoded(load_source(args.data, "test"), preprocess, 2)
    known = [train.classes[k] for k in choose_known(train.classes, args.known_classes.split(","))]
    if args.images:
        train = Subset(train, torch.arange(min(args.images, len(train))))
    number = torch.tensor([name in known for name in train.classes])
    options = auto_options(
        int(number[train.labels].sum()),
        model=args.model,
        epochs=args.epochs,
        batch_size=args.batch_size,
        seed=args.seed,
    )

    def run(cell: dict[str, Any]) -> dict[str, Any]:
        classifier = OpenSetClassifier(
            known, model=args.model, method=cell["method"], image_size=args.image_size, seed=args.seed
        )
        begin = time.process_time()
        report = fit(
            classifier,
            train,
            options=options,
            augmentation=cell["augmentation"],
            outliers="backgrounds",
            accelerator=make_accelerator(options.precision),
        )
        seconds = round(time.process_time() - begin, 1)
        result = classifier.evaluate(test, detectors=["method", "max_logit"])
        own, logit = result["detectors"]["method"], result["detectors"]["max_logit"]
        return {
            "accuracy": result["accuracy"],
            "held_out_accuracy": report.held_out_accuracy,
            "auroc": own["auroc"],
            "oscr": own["oscr"],
            "auroc_max_logit": logit["auroc"],
            "cpu_seconds": seconds,
            "threads": torch.get_num_threads(),
            "precision": options.precision,
        }

    cells = [{"method": name, "augmentation": mix} for name in args.methods for mix in ("none", "backmix")]
    cells += [{"method": "softmax", "augmentation": name} for name in args.augmentations]
    setting = {
        "data": Path(args.data).name,
        "known": known,
        "model": args.model,
        "image_size": args.image_size,
        "training_images": args.images,
        # Each cell records its precision, because the faster precision differs from machine to machine.
        "training": {key: value for key, value in asdict(options).items() if key != "precision"},
    }
    run_cells(args.json, setting, cells, run)


if __name__ == "__main__":
    main()
