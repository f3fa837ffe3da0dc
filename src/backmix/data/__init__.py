"""Images, labels and classes from folders, Parquet files, the hub and the embedded digits, behind one interface."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backmix.data.digits import DigitsOnTextures
    from backmix.data.folder import FolderSource
    from backmix.data.images import ImageError, open_image
    from backmix.data.load import available_splits, choose_known, holdout_split, load_source
    from backmix.data.objects_on_scenes import ObjectsOnScenes
    from backmix.data.parquet import HubSource, ParquetSource
    from backmix.data.source import ImageSource, Subset, count_per_class, find_unreadable

_HOME = {
    "DigitsOnTextures": "digits",
    "FolderSource": "folder",
    "HubSource": "parquet",
    "ImageError": "images",
    "ImageSource": "source",
    "ObjectsOnScenes": "objects_on_scenes",
    "ParquetSource": "parquet",
    "Subset": "source",
    "available_splits": "load",
    "choose_known": "load",
    "count_per_class": "source",
    "find_unreadable": "source",
    "holdout_split": "load",
    "load_source": "load",
    "open_image": "images",
}

__all__ = [
    "DigitsOnTextures",
    "FolderSource",
    "HubSource",
    "ImageError",
    "ImageSource",
    "ObjectsOnScenes",
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


def __getattr__(name: str) -> Any:
    # A module is loaded on first use, so that code which only opens images does not import torch.
    if name not in _HOME:
        raise AttributeError(f"module 'backmix.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"backmix.data.{_HOME[name]}"), name)
