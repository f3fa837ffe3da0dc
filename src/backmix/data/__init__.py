"""Images, labels and classes: folders, Parquet, the hub and the embedded digits, behind one face."""

from __future__ import annotations

from backmix.data.digits import DigitsOnTextures
from backmix.data.folder import FolderSource
from backmix.data.images import ImageError, open_image
from backmix.data.load import available_splits, choose_known, holdout_split, load_source
from backmix.data.parquet import HubSource, ParquetSource
from backmix.data.source import ImageSource, Subset, count_per_class, find_unreadable

__all__ = [
    "DigitsOnTextures",
    "FolderSource",
    "HubSource",
    "ImageError",
    "ImageSource",
    "ParquetSource",
    "Subset",
    "available_splits",
    "choose_known",
    "count_per_class",
    "find_unreadable",
    "holdout_split",
    "load_source",
    "open_image",
]
