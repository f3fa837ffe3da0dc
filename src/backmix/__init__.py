"""Open-set image recognition that does not cheat on backgrounds."""

__version__ = "0.1.0"
