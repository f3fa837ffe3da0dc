"""An answer about one image, and the row that stands for it in a file. Nothing here imports torch."""

from backmix.prediction.answer import UNKNOWN, Prediction

__all__ = ["UNKNOWN", "Prediction"]
