"""The code of `backmix demo`, which trains on the embedded digits with and without BackMix."""

from backmix.demo.run import run_demo
from backmix.fit.digits import COPIES, EPOCHS, IMAGE_SIZE, MODEL, OPTIONS

__all__ = ["COPIES", "EPOCHS", "IMAGE_SIZE", "MODEL", "OPTIONS", "run_demo"]
