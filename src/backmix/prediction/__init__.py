"""The answer for one image, and its row in a file. This package does not import torch."""

from backmix.prediction.answer import UNKNOWN, Prediction

__all__ = ["UNKNOWN", "Prediction"]
