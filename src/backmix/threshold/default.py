"""The default share of known images that a threshold accepts."""

ACCEPT = 0.95
"""The default share of new known images that a threshold accepts, in expectation."""
