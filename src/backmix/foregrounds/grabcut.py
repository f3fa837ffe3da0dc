"""The foreground by GrabCut: colour models of object and background, and the cheapest cut between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from backmix.foregrounds.base import SHARES, ForegroundSource, Mask, Pixels, Segmentation
from backmix.foregrounds.centre import centre_prior
from backmix.foregrounds.saliency import SaliencyForeground
from backmix.foregrounds.weights import require
from backmix.mixing.checks import check

STARTS = ("saliency", "box")
FEWEST = 16
"""The fewest pixels of object and of background at the start: a colour model has five components."""


class GrabCutForeground(ForegroundSource):
    """An estimator by the GrabCut of OpenCV (Rother, Kolmogorov and Blake, SIGGRAPH 2004), without a box by a person.

    With start="saliency", the mask of `SaliencyForeground` is probably object, the 2 % of all pixels with the highest
    saliency are surely object if they lie in the mask, and the outermost pixels outside the mask are surely
    background. With start="box", a margin around the picture is surely background and all pixels inside it are probably
    object. The soft map is the mean of the resulting mask and the soft map of the start.

    If the start has too few pixels of one kind for a model, or if the cut leaves almost nothing or almost everything,
    the start is the result.

    Args:
        working_size: The longer side in pixels to which larger pictures are scaled down.
        start: "saliency" or "box".
        iterations: How often the colour models and the cut are renewed.
        margin: The width of the margin of start="box", as a share of each side.

    Raises:
        MissingLibraryError: If OpenCV is not installed, or scikit-image for start="saliency".
        ValueError: If an option is out of its range.
    """

    name = "grabcut"

    def __init__(
        self, *, working_size: int = 128, start: str = "saliency", iterations: int = 1, margin: float = 0.06
    ) -> None:
        super().__init__(working_size=working_size)
        check(start in STARTS, f"{self.name}: start is one of {', '.join(STARTS)}; got {start!r}")
        check(iterations >= 1, f"{self.name}: iterations is at least 1; got {iterations}")
        check(0 < margin < 0.5, f"{self.name}: margin is a share of each side, above 0 and under 0.5; got {margin}")
        self.start, self.iterations, self.margin = start, iterations, margin
        require("cv2", self.name)
        self._saliency = SaliencyForeground(working_size=working_size) if start == "saliency" else None

    def segment(self, pixels: Pixels) -> Segmentation:
        """See `ForegroundSource.segment`."""
        cv = require("cv2", self.name)
        first = self._box(pixels) if self._saliency is None else self._saliency.segment(pixels)
        marks = self._marks(first, cv)
        object_pixels = int(np.isin(marks, (cv.GC_FGD, cv.GC_PR_FGD)).sum())
        if min(object_pixels, marks.size - object_pixels) < FEWEST:
            return first
        background_model, object_model = np.zeros((1, 65)), np.zeros((1, 65))
        # The components start from k-means, which uses the random numbers of the calling thread.
        cv.setRNGSeed(0)
        cv.grabCut(
            np.ascontiguousarray(pixels[..., ::-1]),
            marks,
            None,
            background_model,
            object_model,
            self.iterations,
            cv.GC_INIT_WITH_MASK,
        )
        mask: Mask = np.isin(marks, (cv.GC_FGD, cv.GC_PR_FGD))
        if not SHARES[0] <= mask.mean() <= SHARES[1]:
            return first
        return Segmentation(((mask + first.soft) / 2).astype(np.float32), mask)

    def _box(self, pixels: Pixels) -> Segmentation:
        height, width = pixels.shape[:2]
        down, across = max(1, round(self.margin * height)), max(1, round(self.margin * width))
        mask = np.zeros((height, width), dtype=bool)
        mask[down : height - down, across : width - across] = True
        return Segmentation(centre_prior(height, width).astype(np.float32), mask)

    def _marks(self, first: Segmentation, cv: Any) -> npt.NDArray[np.uint8]:
        """Return the mark of each pixel from which GrabCut starts, (h, w)."""
        marks: npt.NDArray[np.uint8] = np.where(first.mask, cv.GC_PR_FGD, cv.GC_PR_BGD).astype(np.uint8)
        if self._saliency is None:
            marks[~first.mask] = cv.GC_BGD
            return marks
        outermost = np.ones(marks.shape, dtype=bool)
        outermost[1:-1, 1:-1] = False
        marks[outermost & ~first.mask] = cv.GC_BGD
        marks[(first.soft >= np.percentile(first.soft, 98)) & first.mask] = cv.GC_FGD
        return marks
