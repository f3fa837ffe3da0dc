"""Draw the pictures of docs/concepts.md from trainings on the embedded digits and from results/priors.json.

The script runs three trainings with the setting of `backmix demo` and one seed; each takes a minute or two. Nothing is
chosen by the results.

Run: python docs/make_pictures.py [--out docs/images]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from picture_charts import bank_chart, p_value_chart, prior_chart, promise_chart, score_chart
from picture_rows import answers_picture, pairs_picture, steps_picture
from torch import Tensor

from backmix import BackMix, OpenSetClassifier
from backmix.data.digits import DigitsOnTextures
from backmix.data.loader import decode
from backmix.fit.digits import COPIES, IMAGE_SIZE, MODEL, OPTIONS
from backmix.fit.training import fit
from backmix.train.checkpoint import load_checkpoint
from backmix.train.loop import make_accelerator

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Trained:
    """A network that was trained as in the demo.

    Attributes:
        classifier: The trained classifier.
        source: The digits that it was trained on.
        train: The positions of the training images in `source`, (N,) int64.
        mix: BackMix as it is after the training, or None for a training without BackMix.
        banks: The foreground bank after each epoch, (epochs, N, g, g); empty for a training without BackMix.
    """

    classifier: OpenSetClassifier
    source: DigitsOnTextures
    train: Tensor
    mix: BackMix | None
    banks: Tensor


def train(prior: float, augmentation: str) -> Trained:
    """Train as `backmix demo --prior PRIOR` does with its first seed, and keep the bank of every epoch."""
    source = DigitsOnTextures("train", prior=prior, copies=COPIES)
    classifier = OpenSetClassifier(list(source.known), model=MODEL, image_size=IMAGE_SIZE)
    banks: list[Tensor] = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "checkpoint.pt")

        def keep_bank(_: object) -> None:
            state = load_checkpoint(checkpoint)
            banks.extend(
                value
                for part in state.values()
                if isinstance(part, dict)
                for key, value in part.items()
                if key.endswith("bank.maps")
            )

        report = fit(
            classifier,
            source,
            options=replace(OPTIONS, precision="fp32"),
            augmentation=augmentation,
            held_out=DigitsOnTextures("val", prior=prior),
            accelerator=make_accelerator("fp32"),
            checkpoint=checkpoint,
            on_epoch=keep_bank,
        )
    return Trained(
        classifier, source, report.split.train, report.augmentation, torch.stack(banks) if banks else torch.empty(0)
    )


def scores_of(trained: Trained, source: DigitsOnTextures) -> Tensor:
    """Return the unknown scores of all images in a source, (N,)."""
    answers = trained.classifier.predict(source.arrays().images)
    return torch.tensor([answer.unknown_score for answer in answers], dtype=torch.float64)


def on_the_object(trained: Trained, share: float = 0.25) -> list[float]:
    """Return, for each epoch, the mean share of the digit that lies in the cells called foreground."""
    masks = trained.source.arrays().masks[trained.train].float()
    grid = trained.banks.shape[-1]
    ink = torch.nn.functional.adaptive_avg_pool2d(masks[:, None], grid).flatten(1)
    cells = int(share * grid * grid)
    found = []
    for bank in trained.banks:
        top = bank.flatten(1).topk(cells, 1).indices
        found.append(float((ink.gather(1, top).sum(1) / ink.sum(1)).mean()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    mixed, strong, plain = train(0.8, "backmix"), train(0.95, "backmix"), train(0.95, "none")
    test, val = DigitsOnTextures("test"), DigitsOnTextures("val")
    is_known = test.labels < len(test.known)
    scores = scores_of(mixed, test)
    threshold = mixed.classifier.thresholds[mixed.classifier.detector]

    known = torch.cat([scores_of(mixed, val)[val.labels < len(val.known)], scores[is_known]])
    answers_picture(mixed.classifier, test, out / "concepts-open-set.png")
    score_chart(threshold, scores[is_known], scores[~is_known], out / "concepts-threshold.png")
    p_value_chart(known, scores[~is_known], out / "concepts-p-value.png")
    promise_chart(known, out / "concepts-promise.png")
    pairs_picture(
        plain.classifier,
        DigitsOnTextures("test", prior=1.0),
        DigitsOnTextures("test", prior=0.0),
        out / "concepts-backgrounds.png",
    )
    prior_chart(ROOT / "results" / "priors.json", out / "concepts-priors.png")
    labels = mixed.source.labels[mixed.train]
    index = torch.stack([(labels == digit).nonzero()[0, 0] for digit in (2, 3, 5)])
    decoded = decode(
        mixed.source,
        mixed.classifier.labels_for(mixed.source),
        mixed.classifier.preprocess,
        positions=mixed.train[index].tolist(),
    )
    assert mixed.mix is not None
    steps_picture(mixed.mix, mixed.classifier.preprocess, decoded.images, index, out / "concepts-backmix.png")
    bank_chart(
        mixed.source.arrays().images[mixed.train[index]],
        mixed.source.arrays().masks[mixed.train[index]],
        mixed.banks[:, index],
        {"0.8": on_the_object(mixed), "0.95": on_the_object(strong)},
        out / "concepts-bank.png",
    )


if __name__ == "__main__":
    main()
