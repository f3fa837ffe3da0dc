"""Accept or reject: thresholds on the unknown score that are fitted on held-out known images alone."""

from backmix.threshold.conformal import ConformalThreshold, min_held_out

__all__ = ["ConformalThreshold", "min_held_out"]
