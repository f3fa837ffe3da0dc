"""GrabCut: colour models of object and background, and the cheapest cut between them."""

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
"""Pixels that object and background need at the start: a colour model has five components."""


class GrabCutForeground(ForegroundSource):
    """Estimate by GrabCut (Rother, Kolmogorov and Blake, SIGGRAPH 2004), as OpenCV has it, without a person's box.

    With start="saliency" the mask of `SaliencyForeground` is probably object, its best fiftieth surely object and the
    outermost pixels outside it surely background. With start="box" a margin around the picture is background and all
    inside it probably object. The soft map is half the result and half the map of the start.

    Where the start has too few pixels of one kind to model, or the cut leaves nothing, the start is the result.

    Args:
        working_size: longer side in pixels to which larger pictures are brought down.
        start: "saliency" or "box".
        iterations: how often the colour models and the cut are renewed.
        margin: width of the margin of start="box", as a share of each side.

    Raises:
        MissingLibraryError: OpenCV is not installed, or scikit-image for start="saliency".
        ValueError: for an option out of its range.
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
        # The components start from k-means; its random numbers are those of the calling thread.
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
        """What GrabCut is told about each pixel, (h, w)."""
        marks: npt.NDArray[np.uint8] = np.where(first.mask, cv.GC_PR_FGD, cv.GC_PR_BGD).astype(np.uint8)
        if self._saliency is None:
            marks[~first.mask] = cv.GC_BGD
            return marks
        outermost = np.ones(marks.shape, dtype=bool)
        outermost[1:-1, 1:-1] = False
        marks[outermost & ~first.mask] = cv.GC_BGD
        marks[(first.soft >= np.percentile(first.soft, 98)) & first.mask] = cv.GC_FGD
        return marks
