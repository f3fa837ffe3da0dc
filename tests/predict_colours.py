"""A model that needs no training, for tests of what stands around it: it looks at the mean colour."""

import sys
import time
from pathlib import Path

import numpy as np

from backmix.data.value_range import NO_RANGES
from backmix.predict.paths import Found
from backmix.prediction.answer import UNKNOWN, Prediction

NAMES = ("red", "green", "blue")


class ColourModel:
    """Answers the strongest of three colours, or unknown where none is far ahead; `seconds` pass for each batch."""

    classes = NAMES
    image_size = 16
    value_ranges = NO_RANGES
    at_least = 32

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.batches = []

    def answer(self, images, names, *, top):
        assert images.dtype == np.uint8 and images.shape == (len(names), 3, 16, 16)
        self.batches.append(len(names))
        time.sleep(self.seconds)
        answers = []
        for image, name in zip(images, names, strict=True):
            means = image.reshape(3, -1).mean(1) + 1
            order = np.argsort(-means, kind="stable")
            ahead = float(means[order[0]] / means[order[1]])
            label = NAMES[order[0]] if ahead > 1.5 else UNKNOWN
            likeliest = [(NAMES[k], float(means[k] / means.sum())) for k in order[:top]]
            answers.append(Prediction(name, label, 1 / ahead, min(1.0, ahead / 10), likeliest))
        return answers


def prediction(path="a.png", label="red", score=0.5, p_value=0.25, top=(("red", 0.75), ("blue", 0.25))):
    return Prediction(path, label, score, p_value, list(top))


def found(*paths):
    return [Found(str(path)) for path in paths]


def main():
    """`backmix predict` with this model in place of the one that is named: SECONDS MODEL PATHS... as typed."""
    from backmix import cli
    from backmix.cli import predict_command as predict

    seconds = float(sys.argv.pop(1))
    predict.load_predictor = lambda path: ColourModel(seconds)
    sys.argv = [str(Path("backmix")), "predict", *sys.argv[1:]]
    cli.main()


if __name__ == "__main__":
    main()
