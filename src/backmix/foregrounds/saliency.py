"""The foreground by border-connected saliency: the object is unlike the border and not connected to it.

It rests on three known facts about photographs: the border shows background; background reaches the border without
crossing an edge; objects are near the middle. It needs no training, no labels and no download.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from backmix.foregrounds.base import ForegroundSource, Mask, Pixels, Segmentation
from backmix.foregrounds.centre import centre_prior
from backmix.foregrounds.weights import require
from backmix.mixing.checks import check

Array = npt.NDArray[np.float64]

COLOUR_STEP = (6.0, 8.0, 8.0)
"""The width of a bin of the colour histograms in L, a and b: about the difference that people see at a glance."""
SMALLEST_PART = 0.2
"""A part under this share of the largest part is dropped."""
LARGEST_HOLE = 0.03
"""A hole under this share of the mask is filled; larger ones may be real, as in a ring or a 0."""

_MODULES = ("skimage.color", "skimage.filters", "skimage.morphology", "scipy.ndimage")


class SaliencyForeground(ForegroundSource):
    """An estimator that uses the colours of the border and the regions that are closed off from it.

    Two cues are added, each in 0..1:

    1. *Closed off.* How far a pixel must be raised or lowered until a path leads from it to the border without crossing
       a higher (lower) value. This is measured along each principal axis of the Lab colours of the border, in units of
       their standard deviation. It equals the sum over all thresholds of the regions that do not touch the border
       (boolean map saliency, Zhang and Sclaroff, ICCV 2013), and is computed by grey-scale reconstruction (Vincent
       1993). A regular texture is as wide in these units as the border itself, so it scores low.
    2. *Unlike the border.* p / (p + q), where p is the frequency of a colour in the middle and q its frequency in the
       border, both from Lab histograms. So a texture of several colours is recognised by all its colours.

    The sum is multiplied by a prior for the middle and smoothed along edges (guided filter, He, Sun and Tang, ECCV
    2010). Then cue 2 is computed again `rounds` times, with the map itself for the middle and its complement for the
    border, and averaged with the map. The mask holds the pixels above Otsu's threshold, without small parts and with
    small holes filled.

    The constants were set on the training half of the embedded digits, Leeds butterflies and MSRC by IoU with true
    masks; all three use the same constants. A picture of one colour gives the prior for the middle.

    Args:
        working_size: The longer side in pixels to which larger pictures are scaled down.
        border: The width of the border, as a share of the shorter side.
        centre_weight: How much less likely an object is at the border of the picture, 0..1; 0: no prior.
        rounds: How often the colours are learnt again from the map.
        smoothing: The radius of the smoothing, as a share of the longer side; a radius under half a pixel does not
            smooth.

    Raises:
        MissingLibraryError: If scikit-image is not installed.
        ValueError: If an option is out of its range.
    """

    name = "saliency"

    def __init__(
        self,
        *,
        working_size: int = 128,
        border: float = 0.1,
        centre_weight: float = 0.7,
        rounds: int = 2,
        smoothing: float = 0.015,
    ) -> None:
        super().__init__(working_size=working_size)
        shares = {"border": (border, 0.5), "centre_weight": (centre_weight, 1.0), "smoothing": (smoothing, 0.5)}
        for option, (value, most) in shares.items():
            check(0 <= value <= most, f"{self.name}: {option} lies in 0..{most}; got {value}")
        check(rounds >= 0, f"{self.name}: rounds is at least 0; got {rounds}")
        self.border, self.centre_weight, self.rounds, self.smoothing = border, centre_weight, rounds, smoothing
        for module in _MODULES:  # A missing module is an error now, not at the first picture.
            require(module, self.name)

    def segment(self, pixels: Pixels) -> Segmentation:
        """See `ForegroundSource.segment`."""
        soft = self._soft(pixels)
        return Segmentation(soft.astype(np.float32), self._threshold(soft))

    def _soft(self, pixels: Pixels, cue: Array | float = 0.0) -> Array:
        """Return the map, (h, w) in 0..1. A third cue, (h, w), is added to the two if there is one."""
        lab = _library("skimage.color").rgb2lab(pixels)
        height, width = lab.shape[:2]
        edge = _border(height, width, self.border)
        centre = centre_prior(height, width)
        prior = 1 - self.centre_weight * (1 - centre)
        colours, bins = _colour_bins(lab)
        rare = self._compare(colours, bins, centre, edge.astype(np.float64))
        soft = self._smooth(lab, _stretch((_stretch(self._closed_off(lab, edge)) + rare + cue) * prior))
        for _ in range(self.rounds):
            learnt = self._compare(colours, bins, soft**2, (1 - soft) ** 2)
            soft = _stretch(self._smooth(lab, (learnt + soft) / 2 * prior))
        return soft

    def _closed_off(self, lab: Array, edge: Mask) -> Array:
        """Return cue 1, (h, w), at least 0."""
        colours = lab[edge]
        # Ten squared units of Lab are added as noise. Without them a border of one colour would magnify every grain.
        spread, axes = np.linalg.eigh(np.cov(colours.T, bias=True) + 10 * np.eye(3))
        values = (lab - colours.mean(0)) @ axes / np.sqrt(spread)
        total = np.zeros(lab.shape[:2])
        for axis in range(3):
            for value in (values[..., axis], -values[..., axis]):
                seed = value.copy()
                seed[1:-1, 1:-1] = value.max()
                total += (_library("skimage.morphology").reconstruction(seed, value, method="erosion") - value) ** 2
        depth: Array = np.sqrt(total)
        return depth

    def _compare(self, colours: npt.NDArray[np.intp], bins: tuple[int, ...], inside: Array, outside: Array) -> Array:
        """Return cue 2, (h, w) in 0..1, from two weights of each pixel."""
        first, second = (
            self._frequency(colours, bins, weight)[colours].reshape(weight.shape) for weight in (inside, outside)
        )
        # The small term only avoids 0 / 0: the colour of a pixel is frequent in one of the two.
        return first / (first + second + 1e-12)

    def _frequency(self, colours: npt.NDArray[np.intp], bins: tuple[int, ...], weight: Array) -> Array:
        counts = np.bincount(colours, weight.ravel(), int(np.prod(bins))).reshape(bins)
        smooth: Array = _library("scipy.ndimage").gaussian_filter(counts, 1.0).ravel()
        return smooth / max(float(smooth.sum()), 1e-12)

    def _smooth(self, lab: Array, soft: Array) -> Array:
        """Apply the guided filter: in every window the map becomes a linear function of the brightness."""
        radius = round(self.smoothing * max(soft.shape))
        if radius == 0:
            return soft
        guide = lab[..., 0] / 100

        filtered = _library("scipy.ndimage").uniform_filter

        def mean(values: Array) -> Array:
            found: Array = filtered(values, 2 * radius + 1, mode="reflect")
            return found

        guide_mean, soft_mean = mean(guide), mean(soft)
        slope = (mean(guide * soft) - guide_mean * soft_mean) / (mean(guide**2) - guide_mean**2 + 0.01)
        smooth: Array = np.clip(mean(slope) * guide + mean(soft_mean - slope * guide_mean), 0.0, 1.0)
        return smooth

    def _threshold(self, soft: Array) -> Mask:
        if soft.max() <= soft.min():
            return np.zeros(soft.shape, dtype=bool)
        mask: Mask = soft > _library("skimage.filters").threshold_otsu(soft)
        label = _library("scipy.ndimage").label
        parts, number = label(mask, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=number + 1)
        sizes[0] = 0
        mask = (sizes >= max(1, SMALLEST_PART * sizes.max()))[parts]
        holes, number = label(~mask)
        small = np.bincount(holes.ravel(), minlength=number + 1) < LARGEST_HOLE * mask.sum()
        for line in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
            small[line] = False
        filled: Mask = mask | small[holes]
        return filled


def _library(module: str) -> Any:
    # The module is looked up at each use: an estimator that held modules could not be sent to a worker process.
    return require(module, SaliencyForeground.name)


def _border(height: int, width: int, share: float) -> Mask:
    """Mark a border at least one pixel wide: (height, width) bool."""
    side = max(1, round(share * min(height, width)))
    edge = np.ones((height, width), dtype=bool)
    edge[side : height - side, side : width - side] = False
    return edge


def _colour_bins(lab: Array) -> tuple[npt.NDArray[np.intp], tuple[int, ...]]:
    """Return the bin of each pixel, (h * w,), and the number of bins in L, a and b, with two spare on every side."""
    places = np.floor((lab - lab.min((0, 1))) / COLOUR_STEP).astype(np.intp).reshape(-1, 3) + 2
    bins = tuple(int(most) + 3 for most in places.max(0))
    return np.ravel_multi_index(tuple(places.T), bins), bins


def _stretch(values: Array) -> Array:
    """Scale values to 0..1 between the first and the last percentile, or to 0 if the two do not differ."""
    low, high = np.percentile(values, [1, 99])
    if high - low < 1e-6:
        return np.zeros_like(values)
    stretched: Array = np.clip((values - low) / (high - low), 0.0, 1.0)
    return stretched
