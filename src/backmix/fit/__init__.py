"""From a source of images to a trained and calibrated classifier.

`training` trains one, `choices` and `budget` choose the network and the length of the training, `data` opens and
divides the images.
"""

from backmix.fit.training import FitReport, auto_batch_size, auto_epochs, auto_options, fit

__all__ = ["FitReport", "auto_batch_size", "auto_epochs", "auto_options", "fit"]
