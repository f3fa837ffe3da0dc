"""The embedded digits as the demo and the study train on them."""

from __future__ import annotations

from backmix.train.recipe import TrainOptions

MODEL = "compact-s"


IMAGE_SIZE = 32


COPIES = 4


EPOCHS = 9


# The time is for a processor without units for bf16: there 150 seconds are enough for all of the demo.
OPTIONS = TrainOptions(epochs=EPOCHS, batch_size=128, lr=0.1, flip=0.0, ema=0.99, small=0.4)
