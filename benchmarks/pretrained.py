"""Does BackMix help a network that has seen the world? Fine-tune EfficientNet-lite0 with and without it, and compare.

    python benchmarks/pretrained.py DATA [--json results/pretrained.json] [--out runs/pretrained]

DATA is the folder of Parquet data sets. Every training of a set and a seed has the same images for training and for
the threshold, the same published weights, head, recipe, order and crops:

- none, backmix, swap, cutmix: All weights are trained, from a logistic regression on the frozen features. `backmix` is
  the augmentation of the paper, with the network's own maps, which fill its bank before the first epoch; `swap`
  replaces the whole background, which `foreground=pretrained` finds without labels.
- frozen: The logistic regression alone; "frozen, NAME": with three mixed views of every training image.
- frozen, 224 px: The logistic regression on features at the size that the weights were trained for.

Images are 128 px wide unless it is said, so that the last map has 4x4 cells. The sets are leeds-butterfly,
msrc-v2-objects and caltech101 with the unknown classes of benchmarks/photos.py; trial a of Tiny-ImageNet with 100
images a class, tested on every second image of the validation set; and butterflies laid over the scenes of intel-scenes
(`backmix.data.objects_on_scenes`), at three rates at which a scene goes with a class. The test of these shows the same
rate and, a second time, scenes that say nothing about the class (`independent`).

`background_gap` and the other figures of the audit come from true masks, or, for caltech101 and Tiny-ImageNet, from
estimated ones (`foreground=pretrained`). Cells that the file already holds are not run again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from cells import run_cells
from photos import SETS

from backmix.benchmark.protocols import find_protocol
from backmix.benchmark.trial_data import load_trial
from backmix.classifier import OpenSetClassifier
from backmix.data.load import load_source
from backmix.data.source import ImageSource, Subset
from backmix.data.split import divide
from backmix.fit.auto_options import auto_options
from backmix.fit.frozen_training import fit_frozen
from backmix.fit.head import train_head
from backmix.fit.training import fit
from backmix.foregrounds import EstimatedMasks, PretrainedForeground
from backmix.inference.frozen import FrozenFeatures
from backmix.study.cell import Cell, audit_of
from backmix.study.setting import ObjectsSetting, default_known

MODEL, SIZE, PUBLISHED_SIZE, EPOCHS = "tf_efficientnet_lite0", 128, 224, 5
MIXING: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "backmix": ("backmix", {}),
    "swap": ("backmix", {"apply": "swap", "foreground": "masks"}),  # The masks of the training images are estimated.
    "cutmix": ("cutmix", {}),
}
TRAININGS = ("frozen, 224 px", "frozen", *(f"frozen, {name}" for name in MIXING if name != "none"), *MIXING)
TINY, SCENES, PER_CLASS, PICTURES, AUDITED = "tiny-imagenet", "leeds on scenes", 100, 330, 300
PRIORS = (0.5, 0.8, 0.95)
SEEDS = {"msrc-v2-objects": 5, "leeds-butterfly": 5, "caltech101": 5, SCENES: 3, TINY: 2}
TRUE_MASKS = ("msrc-v2-objects", "leeds-butterfly", SCENES)


@dataclass(frozen=True)
class Images:
    """The images of one cell. `held_out` is None where a share of the training images sets the threshold."""

    known: list[str]
    train: ImageSource
    held_out: ImageSource | None
    test: ImageSource
    independent: ImageSource | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, default=Path("results/pretrained.json"))
    parser.add_argument("--out", type=Path, default=Path("runs/pretrained"), help="the folder of the cached features")
    parser.add_argument("--sets", nargs="+", default=list(SEEDS), choices=list(SEEDS))
    parser.add_argument("--trainings", nargs="+", default=list(TRAININGS), choices=list(TRAININGS))
    parser.add_argument("--seeds", type=int, help="the first seeds of each set alone")
    args = parser.parse_args()
    setting = {
        "model": MODEL,
        "image_size": SIZE,
        "epochs": EPOCHS,
        "tiny_images_per_class": PER_CLASS,
        "pictures_on_scenes": PICTURES,
        "training": asdict(auto_options(500, model=MODEL, pretrained=True, epochs=EPOCHS, precision="fp32")),
    }
    run_cells(args.json, setting, list(cells(args)), lambda cell: run(cell, args.data, args.out / "features"))


def cells(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the cells seed by seed, so that an unfinished grid can already be compared."""
    for seed in range(max(SEEDS.values())):
        for name in args.sets:
            if seed < min(SEEDS[name], SEEDS[name] if args.seeds is None else args.seeds):
                for prior in PRIORS if name == SCENES else (None,):
                    for training in args.trainings:
                        yield {"set": name, "prior": prior, "training": training, "seed": seed}


def run(cell: dict[str, Any], data: Path, features: Path) -> dict[str, Any]:
    """Train and measure one cell; see the head of this file."""
    seed, training = cell["seed"], cell["training"]
    images = images_of(data, cell["set"], cell["prior"], seed)
    classifier = OpenSetClassifier(
        images.known,
        model=MODEL,
        pretrained=True,
        image_size=PUBLISHED_SIZE if training == "frozen, 224 px" else SIZE,
        detector="max_logit",
        precision="fp32",
        seed=seed,
    )
    mixing = MIXING.get(training.removeprefix("frozen, "), MIXING["none"])
    train = images.train
    if mixing[1].get("foreground") == "masks":
        train = estimated_masks(data, cell["set"], cell["prior"], seed)
    if training.startswith("frozen"):
        fit_frozen(
            classifier,
            train,
            cache=features,
            detector="max_logit",
            augmentation=mixing[0],
            augmentation_options=mixing[1],
            held_out=images.held_out,
            seed=seed,
        )
    else:
        fine_tune(classifier, train, images.held_out, mixing, features, seed)
    classifier.cache_folder = features
    found = figures(classifier, images.test)
    if images.independent is not None:
        found["independent"] = figures(classifier, images.independent)
    masks = "true" if cell["set"] in TRUE_MASKS else "pretrained"
    known = (classifier.labels_for(images.test) >= 0).nonzero()[:AUDITED, 0]
    audit = audit_of(classifier, Subset(images.test, known), masks, Cell(training, cell["prior"], seed))
    return {**found, "audit": audit}


def fine_tune(
    classifier: OpenSetClassifier,
    train: ImageSource,
    held_out: ImageSource | None,
    mixing: tuple[str, dict[str, Any]],
    features: Path,
    seed: int,
) -> None:
    """Fit the head on frozen features, then train all weights from there."""
    labels = classifier.labels_for(train)
    split = divide(labels, classifier.classes, held_out is None, None, 0.0, None, seed)
    frozen = FrozenFeatures(classifier.network.backbone.eval(), classifier.preprocess, folder=features)
    found = frozen.of(train, split.train.tolist())
    train_head(classifier, found.features, labels[found.positions], choose=False, seed=seed)
    options = auto_options(
        len(split.train), model=MODEL, pretrained=True, epochs=EPOCHS, seed=seed, precision=classifier.precision
    )
    fit(
        classifier,
        train,
        options=options,
        augmentation=mixing[0],
        augmentation_options=mixing[1],
        held_out=held_out,
        split=split,
        fill=True,
    )
    classifier.network.to("cpu").eval()
    # The weights do not change any more, so the fastest engine may compute what is measured.
    classifier.frozen = True
    classifier.frozen_features = FrozenFeatures(classifier.network.backbone, classifier.preprocess, folder=features)


def figures(classifier: OpenSetClassifier, source: ImageSource) -> dict[str, Any]:
    """Return the accuracy on the known images, and AUROC and OSCR by score."""
    result = classifier.evaluate(source, detectors=["max_logit", "msp"])
    by_score = {name: {"auroc": of["auroc"], "oscr": of["oscr"]} for name, of in result["detectors"].items()}
    return {"accuracy": result["accuracy"], "scores": by_score}


@cache
def images_of(data: Path, name: str, prior: float | None, seed: int) -> Images:
    if name == SCENES:
        return on_scenes(data, prior, seed)
    if name == TINY:
        protocol = find_protocol(TINY)
        trial = protocol.trials(protocol.default_list)["a"]
        loaded = load_trial(trial, data)
        kept = torch.cat([(loaded.train.labels == k).nonzero()[:PER_CLASS, 0] for k in range(len(trial.train.classes))])
        (tested,) = loaded.tests.values()
        return Images(
            list(trial.train.classes),
            Subset(loaded.train, kept),
            None,
            Subset(tested, torch.arange(0, len(tested), 2)),
        )
    unknown = next(each.unknown for each in SETS if each.folder == name)
    train, test = (load_source(str(data / name), split) for split in ("train", "test"))
    present = [train.classes[number] for number in train.labels.unique().tolist() if number >= 0]
    return Images([each for each in sorted(present) if each not in unknown], train, None, test)


def on_scenes(data: Path, prior: float | None, seed: int) -> Images:
    objects, scenes = (
        (load_source(str(data / each), "train"), load_source(str(data / each), "test"))
        for each in ("leeds-butterfly", "intel-scenes")
    )
    known = default_known(objects[0])
    setting = ObjectsSetting(
        objects,
        scenes,
        known,
        {"data": "leeds-butterfly", "scenes": "intel-scenes"},
        priors=PRIORS,
        image_size=SIZE,
        pictures=PICTURES,
    )
    sources = setting.sources(prior, seed)
    return Images(known, sources.train, sources.held_out, sources.test, sources.independent)


@cache
def estimated_masks(data: Path, name: str, prior: float | None, seed: int) -> EstimatedMasks:
    """Return the training images with estimated masks, which are made once for all seeds where the images are fixed."""
    if name != SCENES and seed:
        return estimated_masks(data, name, prior, 0)
    source = EstimatedMasks(images_of(data, name, prior, seed).train, PretrainedForeground())
    source.prepare()
    return source


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
