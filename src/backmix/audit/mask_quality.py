"""Judge estimated masks before anything is said with them: was an object found, and is it recognised alone?"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

FOUND = 0.9  # An object must be found in this share of the images of a class before the class is judged.
ALONE = 0.8  # Of the images that are answered right, this share must be right with the object alone.
LEAST, MOST = 0.03, 0.7  # Masks that cover less or more of the picture rarely show one object.


@dataclass(frozen=True)
class MaskQuality:
    """How far estimated masks can be trusted.

    An object that is cut out whole is recognised alone about as often as in its picture. Where that is not so, either
    the masks miss it or the classifier does not look at it; the masks cannot tell which.

    Attributes:
        images: The number of images that could be read.
        found: The share of them in which an object was found.
        share: The median share of the picture that a mask covers; None without masks.
        alone: Of the images with a mask that are answered right, the share that is right with the object alone; None if
            there are none.
    """

    images: int
    found: float
    share: float | None
    alone: float | None

    @property
    def good(self) -> bool:
        """Whether a class may be judged by these masks."""
        return not self.why

    @property
    def why(self) -> str:
        """Why a class may not be judged by these masks, in words; empty if it may."""
        if self.found < FOUND:
            return f"an object was found in {100 * self.found:.0f} of 100 images only"
        if self.alone is None or self.share is None:
            return "no image was answered right"
        if not LEAST <= self.share <= MOST:
            return f"a mask covers {100 * self.share:.0f} % of the picture, which is hardly one object"
        if self.alone < ALONE:
            return f"of 100 images answered right, {100 * self.alone:.0f} are right with the masked object alone"
        return ""


def mask_quality(readable: Tensor, shares: Tensor, right: Tensor, right_alone: Tensor) -> MaskQuality:
    """Return the quality of the masks of some images.

    Args:
        readable: (N,) bool, whether each image could be read; the others do not count.
        shares: (N,) float, the share of the picture that each mask covers; 0 without a mask.
        right: (N,) bool, whether the image as it is is answered right.
        right_alone: (N,) bool, whether its object alone is answered right.
    """
    images, masked = int(readable.sum()), readable & (shares > 0)
    known = masked & right
    return MaskQuality(
        images,
        int(masked.sum()) / images if images else 0.0,
        float(shares[masked].double().median()) if masked.any() else None,
        float(right_alone[known].double().mean()) if known.any() else None,
    )


def plausible(shares: Tensor, right: Tensor, right_alone: Tensor) -> Tensor:
    """Return whether the mask of each image may serve as an example, (N,) bool; the arguments are as above."""
    return (shares >= LEAST) & (shares <= MOST) & (right_alone | ~right)
