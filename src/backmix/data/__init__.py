"""Images, labels and classes from folders, Parquet files, the hub and the embedded digits, behind one interface."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backmix.data.digits import DigitsOnTextures
    from backmix.data.folder import FolderSource
    from backmix.data.images import ImageError, open_image, open_photo
    from backmix.data.load import available_splits, choose_known, holdout_split, load_source
    from backmix.data.objects_on_scenes import ObjectsOnScenes
    from backmix.data.parquet import HubSource, ParquetSource
    from backmix.data.photo import Photo
    from backmix.data.source import ImageSource, Subset, count_per_class, find_unreadable, read_photo

_HOME = {
    "digits": ("DigitsOnTextures",),
    "folder": ("FolderSource",),
    "parquet": ("HubSource", "ParquetSource"),
    "images": ("ImageError", "open_image", "open_photo"),
    "photo": ("Photo",),
    "source": ("ImageSource", "Subset", "count_per_class", "find_unreadable", "read_photo"),
    "objects_on_scenes": ("ObjectsOnScenes",),
    "load": ("available_splits", "choose_known", "holdout_split", "load_source"),
}

__all__ = [
    "DigitsOnTextures",
    "FolderSource",
    "HubSource",
    "ImageError",
    "ImageSource",
    "ObjectsOnScenes",
    "ParquetSource",
    "Photo",
    "Subset",
    "available_splits",
    "choose_known",
    "count_per_class",
    "find_unreadable",
    "holdout_split",
    "load_source",
    "open_image",
    "open_photo",
    "read_photo",
]


def __getattr__(name: str) -> Any:
    # A module is loaded on first use, so that code which only opens images does not import torch.
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"backmix.data.{module}"), name)
    raise AttributeError(f"module 'backmix.data' has no attribute {name!r}")
