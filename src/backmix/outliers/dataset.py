"""Outliers drawn from a data set whose images show none of the known classes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from backmix.data.load import load_source, training_split
from backmix.data.names import match_names
from backmix.data.preprocess import Preprocess
from backmix.data.source import ImageSource, Subset
from backmix.errors import DataError, some_of
from backmix.mixing import View
from backmix.mixing.checks import check
from backmix.mixing.draw import device_of
from backmix.outliers.base import Outliers


class DatasetOutliers(Outliers):
    """Outliers drawn from a decoded data set. Every image has the same probability in every batch.

    The images move with `to`, but are not part of `state_dict`.

    Args:
        images: The images, (N, 3, S, S) uint8, as `preprocess` decodes them. They show no known class and, for fair
            results, no unknown class of the test either.
        preprocess: How the images are normalised.
        share: The number of outliers for each image of a batch (ours: 1; Outlier Exposure, ICLR 2019: 2).
        skipped: The (name, reason) of each image of the data set that could not be read, for reports.
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If the images have another shape or dtype, if there are none, or if the share is not a finite
            number above 0.
    """

    images: Tensor

    def __init__(
        self,
        images: Tensor,
        preprocess: Preprocess,
        *,
        share: float = 1.0,
        skipped: Sequence[tuple[str, str]] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(generator=generator)
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8 or not len(images):
            raise ValueError(
                f"outliers must be (N, 3, S, S) uint8, at least one; got {tuple(images.shape)} {images.dtype}"
            )
        check(0 < share < float("inf"), f"share of outliers is a number above 0 for each image of a batch; got {share}")
        self.register_buffer("images", images, persistent=False)
        self.preprocess = preprocess
        self.share = share
        self.skipped = list(skipped)
        # When a training is resumed, the checksum tells data sets of the same size apart.
        self._checksum = f"{zlib.crc32(images.contiguous().cpu().numpy().data):08x}"

    def forward(
        self,
        images: Tensor,
        index: Tensor,
        *,
        labels: Tensor | None = None,
        masks: Tensor | None = None,
        view: View | None = None,
    ) -> Tensor:
        """Draw outliers for a batch. Only the shape of the batch is used.

        Args:
            images: The images of the batch, (B, 3, S, S) float.
            index: Not used.
            labels: Not used.
            masks: Not used.
            view: Not used.

        Returns:
            The outliers, (O, 3, S, S) float32, normalised. O is `share` times B, rounded, at least 1. An image may
            occur twice.

        Raises:
            ValueError: If the images of the batch have another size than the outliers.
        """
        if images.shape[1:] != self.images.shape[1:]:
            raise ValueError(
                f"images of the batch must be as large as the outliers, {tuple(self.images.shape[1:])}; "
                f"got {tuple(images.shape[1:])}"
            )
        chosen = self.draw(max(1, round(self.share * len(images)))).to(self.images.device)
        return self.preprocess.normalise(self.images.index_select(0, chosen))

    def draw(self, count: int) -> Tensor:
        """Draw (count,) int64 positions among the outliers."""
        device = device_of(self.generator)
        return torch.randint(len(self.images), (count,), generator=self.generator, device=device)

    def extra_repr(self) -> str:
        """Show the options in `print`."""
        return f"{len(self.images)}, share={self.share!r}, checksum={self._checksum}"


def load_outliers(data: str | None, classes: Sequence[str]) -> str | ImageSource | None:
    """Load the images of a data set that show no known class.

    Args:
        data: The data set, "backgrounds" or None.
        classes: The names of the known classes.

    Returns:
        The images whose class is none of `classes`; "backgrounds" and None come back unchanged.

    Raises:
        DataError: If the data set holds only known classes.
    """
    if data is None or data == "backgrounds":
        return data
    source = load_source(data, training_split(data), few=True)
    matched = match_names(source.classes, classes)
    known = torch.tensor([name in matched for name in source.classes] + [False])
    others = (~known[source.labels]).nonzero()[:, 0]
    if not len(others):
        raise DataError(f"--outliers {data}: all its images are of known classes ({some_of(classes)})")
    return Subset(source, others)
