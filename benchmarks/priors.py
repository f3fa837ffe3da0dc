"""Measure the value of the foreground estimate: train on the embedded digits with each source, at rising priors.

Digits 0 to 5 are known and stand on the texture of their class at the rate `prior`; the unknown digits 6 to 9 stand on
the same textures. Every trained network is tested twice: on textures that go with the class as they did in training,
and on random textures, which say nothing about the class. All cells of the same seed share recipe, initial weights,
order and crops. docs/results.md reports which results on test images were seen before the setting was fixed. Cells
that the file already holds are not run again.

Run: python benchmarks/priors.py [--priors 0.5 0.8 0.95] [--seeds 3] [--json results/priors.json]
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cells import run_cells

from backmix import OpenSetClassifier
from backmix.data.digits import CONTRAST, DigitsOnTextures
from backmix.fit.digits import COPIES, IMAGE_SIZE, MODEL, OPTIONS
from backmix.fit.training import fit
from backmix.train.loop import make_accelerator

KINDS: dict[str, dict[str, str] | None] = {"none": None, "patch, free": {"apply": "patch", "foreground": "free"}}
KINDS |= {
    f"swap, {source}": {"apply": "swap", "foreground": source}
    for source in ("free", "clean", "centre", "random", "saliency", "grabcut", "masks")
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--priors", type=float, nargs="+", default=[0.8, 0.5, 0.95])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--epochs", type=int, default=OPTIONS.epochs)
    parser.add_argument("--json", type=Path, default=Path("results/priors.json"))
    args = parser.parse_args()
    options = replace(OPTIONS, epochs=args.epochs)

    def run(cell: dict[str, Any]) -> dict[str, Any]:
        seed, prior = cell["seed"], cell["prior"]
        train = DigitsOnTextures("train", prior=prior, copies=COPIES, seed=seed)
        classifier = OpenSetClassifier(list(train.known), model=MODEL, image_size=IMAGE_SIZE, seed=seed)
        chosen = KINDS[cell["kind"]]
        fit(
            classifier,
            train,
            options=replace(options, seed=seed),
            augmentation="none" if chosen is None else "backmix",
            augmentation_options=chosen,
            held_out=DigitsOnTextures("val", prior=prior, seed=seed),
            accelerator=make_accelerator(options.precision),
        )
        found = {}
        for end, rate in (("", prior), ("_random_textures", 1 / len(train.known))):
            test = DigitsOnTextures("test", prior=rate, copies=2, seed=seed)
            result = classifier.evaluate(test, detectors=["max_logit"])
            score = result["detectors"]["max_logit"]
            figures = {"accuracy": result["accuracy"], "auroc": score["auroc"], "oscr": score["oscr"]}
            found |= {name + end: value for name, value in figures.items()}
        return found

    setting = {
        "model": MODEL,
        "image_size": IMAGE_SIZE,
        "copies": COPIES,
        "contrast": CONTRAST,
        "detector": "max_logit",
        "training": asdict(options),
    }
    cells = [
        {"prior": prior, "kind": kind, "seed": seed}
        for prior in args.priors
        for seed in range(args.seeds)
        for kind in args.kinds
    ]
    run_cells(args.json, setting, cells, run)


if __name__ == "__main__":
    main()
