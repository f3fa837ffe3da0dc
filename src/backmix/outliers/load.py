"""Images of no known class from what a person typed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from backmix.data.load import available_splits, load_source
from backmix.data.source import ImageSource, Subset
from backmix.errors import DataError, some_of


def load_outliers(data: str | None, classes: Sequence[str]) -> str | ImageSource | None:
    """Images of no known class: those of DATA whose class is none of `classes`; "backgrounds" stays as it is.

    Raises:
        DataError: when DATA holds nothing but known classes.
    """
    if data is None or data == "backgrounds":
        return data
    splits = available_splits(data)
    source = load_source(data, "train" if "train" in splits else splits[0] if splits else None)
    known = torch.tensor([name in classes for name in source.classes] + [False])
    others = (~known[source.labels]).nonzero()[:, 0]
    if not len(others):
        raise DataError(f"--outliers {data}: all its images are of known classes ({some_of(classes)})")
    return Subset(source, others)
