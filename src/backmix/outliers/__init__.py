"""The sources of outliers, images of no known class, for methods that learn from them."""

from __future__ import annotations

import torch

from backmix.augmentations import Chain
from backmix.data.loader import decode
from backmix.data.preprocess import Preprocess
from backmix.data.seeds import seed_of
from backmix.data.source import ImageSource
from backmix.errors import DataError
from backmix.mixing import BackMix
from backmix.outliers.backgrounds import Backgrounds
from backmix.outliers.base import Outliers
from backmix.outliers.dataset import DatasetOutliers

__all__ = ["Backgrounds", "DatasetOutliers", "Outliers", "make_outliers"]

MOST_BYTES = 2 * 2**30  # Decoded outliers are kept in memory, so larger images mean fewer outliers.


def make_outliers(
    source: str | ImageSource,
    num_images: int,
    preprocess: Preprocess,
    chain: Chain | None,
    *,
    workers: int = 2,
    limit: int = 50_000,
    share: float = 1.0,
) -> Outliers:
    """Build a source of outliers.

    Args:
        source: "backgrounds", or a data set whose images show no known class; its labels are not used.
        num_images: The number of images of the training set.
        preprocess: How images are decoded and normalised.
        chain: The augmentation. Backgrounds share the foreground bank of its BackMix, if it has one.
        workers: The number of threads that decode images.
        limit: The largest number of images of a data set to use; fewer are used if they would take more than 2 GiB.
            The images are drawn at random, the same ones in every run.
        share: The number of outliers of a data set for each image of a batch.

    Raises:
        ValueError: If the source is another string, or if an option is outside its range.
        DataError: If no image of the data set can be read.
    """
    if isinstance(source, str):
        if source != "backgrounds":
            raise ValueError(f"outliers are 'backgrounds' or a data set of images of no known class; got {source!r}")
        shared = chain.backmix if chain is not None else None
        return Backgrounds(shared or BackMix(num_images, fill_value=preprocess.grey))
    if limit < 1:
        raise ValueError(f"limit of outliers is at least 1; got {limit}")
    most = min(limit, max(1, MOST_BYTES // (3 * preprocess.image_size**2)))
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed_of("outliers")))
    positions = order[:most].sort().values.tolist()
    labels = torch.full((len(source),), -1)
    decoded = decode(source, labels, preprocess, positions=positions, workers=workers)
    if not len(decoded.images):
        first = f" The first: {decoded.skipped[0][0]}: {decoded.skipped[0][1]}." if decoded.skipped else ""
        raise DataError(f"no image of the outliers could be read; {len(positions)} were tried.{first}")
    return DatasetOutliers(decoded.images, preprocess, share=share, skipped=decoded.skipped)
