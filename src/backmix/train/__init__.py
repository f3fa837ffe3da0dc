"""How a network is trained: the recipe as data, one loop, one step, and the checkpoint of an interrupted training."""

from backmix.train.loop import EpochReport, Progress, make_accelerator, train

__all__ = ["EpochReport", "Progress", "make_accelerator", "train"]
