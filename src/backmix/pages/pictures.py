"""Make the small pictures inside a page: the image that the network saw, and where it saw a class."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from torch import Tensor

from backmix.data.photo import Photo
from backmix.data.square import central_square

SIDE = 160


def thumbnail(picture: Image.Image | Photo, side: int = SIDE) -> Image.Image:
    """Return the central square of a picture, which is the part that a network sees."""
    small = min(picture.size) < side
    return central_square(picture, side, Image.Resampling.BICUBIC if small else Image.Resampling.LANCZOS)


def spotlight(picture: Image.Image, evidence: Tensor) -> Image.Image:
    """Return a picture that is in colour where there is evidence, and dark and grey where there is none.

    A white line surrounds the areas where the evidence is 0.5 or more. Brightness shows the evidence as well as colour
    does, so that readers need not tell colours apart.

    Args:
        picture: A square RGB picture.
        evidence: (h, w) float in 0..1, the evidence over the whole picture.
    """
    side = picture.size[0]
    small = Image.fromarray(evidence.detach().float().cpu().numpy().astype(np.float32))
    strength = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)).clip(0, 1)
    pixels = np.asarray(picture, dtype=np.float32)
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    dark = 0.3 * grey[..., None] + np.array([10, 14, 24], dtype=np.float32)
    share = np.clip((strength - 0.15) / 0.5, 0, 1)[..., None]
    shown = share * pixels + (1 - share) * dark
    inside = strength >= 0.5
    edge = np.zeros_like(inside)
    edge[1:] |= inside[1:] != inside[:-1]
    edge[:, 1:] |= inside[:, 1:] != inside[:, :-1]
    shown[edge] = (255, 255, 255)
    return Image.fromarray(np.rint(shown).clip(0, 255).astype(np.uint8))


def hatched(picture: Image.Image, where: Tensor) -> Image.Image:
    """Return a picture with an area under white and dark stripes, so that the eye does not take it for the image.

    Args:
        picture: A square RGB picture.
        where: (h, w) bool, the area over the whole picture.
    """
    side = picture.size[0]
    small = Image.fromarray(where.detach().cpu().numpy().astype(np.uint8) * 255)
    area = np.asarray(small.resize((side, side), Image.Resampling.NEAREST)) > 0
    down, across = np.mgrid[:side, :side]
    stripes = np.where(((down + across) // 4 % 2 == 0)[..., None], (255, 255, 255), (40, 44, 60)).astype(np.uint8)
    return Image.fromarray(np.where(area[..., None], stripes, np.asarray(picture)))


def outlined(picture: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """Return a copy of a picture with a white and black frame around a box.

    The box is (left, top, right, bottom), as shares of the sides of the picture.
    """
    from PIL import ImageDraw

    copy = picture.copy()
    draw = ImageDraw.Draw(copy)
    width, height = copy.size
    edges = [round(box[0] * width), round(box[1] * height), round(box[2] * width) - 1, round(box[3] * height) - 1]
    draw.rectangle(edges, outline=(0, 0, 0), width=3)
    draw.rectangle([edges[0] + 1, edges[1] + 1, edges[2] - 1, edges[3] - 1], outline=(255, 255, 255), width=1)
    return copy


def place_of(evidence: Tensor) -> str | None:
    """Return where most of the evidence (h, w) lies, in words such as "at the upper left"; None without evidence."""
    values = evidence.detach().float().cpu()
    total = float(values.sum())
    if total <= 0:
        return None
    height, width = values.shape
    # The centre of the strong cells, not the highest cell, because a map often has several cells about as high.
    strong = values * (values >= 0.5 * values.max())
    weight = float(strong.sum())
    down = sum(float(strong[row].sum()) * (row + 0.5) / height for row in range(height)) / weight
    across = sum(float(strong[:, column].sum()) * (column + 0.5) / width for column in range(width)) / weight
    vertical = "upper" if down < 0.4 else "lower" if down > 0.6 else ""
    sideways = "left" if across < 0.4 else "right" if across > 0.6 else ""
    if not vertical and not sideways:
        return "in the middle"
    return f"at the {vertical} {sideways}".replace("  ", " ").strip() + ("" if vertical and sideways else " side")


def data_uri(picture: Image.Image, *, lossless: bool = False) -> str:
    """Return a picture as a data address that contains it: as JPEG, or as PNG if `lossless`."""
    buffer = io.BytesIO()
    if lossless:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=82, optimize=True)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
