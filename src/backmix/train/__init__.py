"""The training of a network: its options, loop and steps, and the checkpoint from which it can be resumed."""

from backmix.train.bank import fill_bank
from backmix.train.loop import EpochReport, Progress, make_accelerator, train
from backmix.train.step import train_step

__all__ = ["EpochReport", "Progress", "fill_bank", "make_accelerator", "train", "train_step"]
