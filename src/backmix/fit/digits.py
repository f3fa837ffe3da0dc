"""The settings with which the demo and the study train on the embedded digits."""

from __future__ import annotations

from backmix.train.recipe import TrainOptions

MODEL = "compact-s"


IMAGE_SIZE = 32


COPIES = 4


EPOCHS = 9


# These options fit a CPU without units for bf16, on which the whole demo takes at most 150 seconds.
OPTIONS = TrainOptions(epochs=EPOCHS, batch_size=128, lr=0.1, flip=0.0, ema=0.99, small=0.4)
