"""The central square of a picture, which is the part that a network sees in training, prediction and export."""

from __future__ import annotations

from PIL import Image

from backmix.data.photo import Photo


def central_square(
    image: Image.Image | Photo, size: int, resample: Image.Resampling = Image.Resampling.BILINEAR
) -> Image.Image:
    """Cut out the central square and resize it to `size` x `size` pixels in one step.

    Args:
        image: The picture, of any mode and size, or a photograph, which comes out "RGB".
        size: The side of the result in pixels, at least 1.
        resample: The way to interpolate; NEAREST for masks.
    """
    if isinstance(image, Photo):
        return image.square(size, resample)
    width, height = image.size
    if (width, height) == (size, size):
        return image
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), resample, (left, top, left + side, top + side))
