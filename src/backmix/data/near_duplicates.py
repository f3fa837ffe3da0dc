"""Find images that show the same picture.

If a copy of a test image was trained on, the test image tells nothing about new images. Two images are taken for copies
if small grey thumbnails of them, one laid over the other by shift and scale, agree as a whole and in their detail, and
their colours agree too. The low frequencies of the thumbnails first give the pairs to compare.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageStat
from torch import Tensor

from backmix.data.images import ImageError
from backmix.data.source import ImageSource, Subset, read_photo

_READ = 512  # The side in pixels that is decoded at least. Thumbnails of larger pictures do not differ visibly.
_SIDE = 32
_RIM = 2  # The rim of the thumbnail is not compared, because a copy that is cut at the sides has nothing there.
_COLOURS = 8
_FREQUENCIES = 8
_NEIGHBOURS = 16  # The number of most similar images compared with each image. Thousands of digits look alike.
_BLOCK = 2**23  # The number of entries in a block of the table of all pairs.
# Two images are compared if they agree this much in low frequencies. 99 % of crops of 3 % a side reach 0.76.
_ALIKE = 0.7

# These limits were chosen by looking at pairs, sorted by similarity, from CIFAR-10, Tiny-ImageNet, Caltech-101,
# butterflies, textures and scenes. Pairs above them are copies, retouched pictures, and few others. Pairs whose detail
# agrees below 0.8 are different pictures.
_WHOLE, _DETAIL = 0.97, 0.85
_COLOUR = 25.0
_FLOOR = 0.03  # The noise in grey levels. A picture that varies less correlates with nothing.
_PLAIN_DETAIL, _PLAIN_TEXTURE = 0.3, 4.0  # In grey levels and squared grey levels.
_PLAIN_COLOUR = 3
_LARGE, _LARGE_SHARE = 20, 0.01
_LIMITS = (1 / 2, 1 / 4, 1 / 8)


def find_near_duplicates(
    source: ImageSource,
    positions: Tensor | Sequence[int] | None = None,
    *,
    workers: int = 2,
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """Group the images that show nearly the same picture.

    A group holds an image, its exact copies, and copies that were encoded again, resized (to at least 32 pixels),
    mirrored, made up to a quarter brighter or darker, or cut by up to about 3 % on each side. Photographs of a burst
    that differ as little are in one group too. Copies of copies belong to the group. Pictures of one plain colour are
    copies if the colours are the same. Labels are not used.

    In some data, dozens of images look alike without being copies (digits, one cup from all sides), and a chain of
    similar images joins them into one group. A group of more than 20 images that is also more than 1 % of all images is
    therefore divided again with half the allowed difference, up to three times.

    Each image is read once and takes about 3 kB of memory. The time for comparing grows with the square of N: about two
    minutes of one processor core for 100,000 images.

    Args:
        source: The images to compare.
        positions: (N,) the positions of the images in the source; None: all images.
        workers: The number of threads that decode images.
        progress: A function that is called, now and then, with the number of images read so far.

    Returns:
        (N,) int64, the group of each image, numbered 0, 1, ... in the order in which groups first appear. An image that
        cannot be read has a group of its own.

    Raises:
        DataError: If the source does not have a position.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1; got {workers}")
    chosen = source if positions is None else Subset(source, positions)
    prints = _read(chosen, workers, progress)
    total = len(chosen)
    links = [(prints.copies, torch.zeros(len(prints.copies))), _compare_detailed(prints), _compare_plain(prints)]
    pairs, difference = (torch.cat(parts) for parts in zip(*links, strict=True))
    groups = connected(pairs, total)
    for limit in _LIMITS:
        large = torch.bincount(groups) > max(_LARGE, _LARGE_SHARE * total)
        divided = len(large) + connected(pairs[difference <= limit], total)
        groups = torch.where(large[groups], divided, groups).unique(return_inverse=True)[1]
    # Groups are numbered in the order in which they first appear.
    first = torch.full((total,), total).scatter_reduce(0, groups, torch.arange(total), "amin")
    return first.argsort().argsort()[groups]


@dataclass(frozen=True)
class _Prints:
    """The small amount of data about N images that is enough to compare them.

    Attributes:
        grey: (N, 32, 32) float16, slightly blurred grey thumbnails of mean 0, in grey levels.
        colour: (N, 8, 8, 3) uint8, colour thumbnails.
        detailed: (D,) int64, the first images of each exact look that have any detail.
        plain: (P,) int64, the first images of each exact look without detail: flat colours, smooth gradients.
        copies: (C, 2) int64, pairs of the first image with an exact look and a later image with the same look.
    """

    grey: Tensor
    colour: Tensor
    detailed: Tensor
    plain: Tensor
    copies: Tensor


def _read(source: ImageSource, workers: int, progress: Callable[[int], object] | None) -> _Prints:
    total = len(source)
    grey = torch.zeros(total, _SIDE, _SIDE, dtype=torch.float16)
    colour = torch.zeros(total, _COLOURS, _COLOURS, 3, dtype=torch.uint8)
    plain = torch.zeros(total, dtype=torch.bool)
    looks: list[bytes | None] = [None] * total

    def read(rows: range) -> None:
        for row in rows:
            try:
                photo = read_photo(source, row, _READ)
                thumbnail, colours, texture = _look(photo.upright())
                if texture < _PLAIN_TEXTURE and photo.scale > 1:  # Decoding fewer pixels smooths a fine texture away.
                    texture = _look(source.read(row))[2]
            except ImageError:
                continue
            grey[row], colour[row] = torch.from_numpy(thumbnail), torch.from_numpy(colours)
            plain[row] = texture < _PLAIN_TEXTURE
            whole = thumbnail.tobytes() + colours.tobytes() + repr(texture).encode()
            looks[row] = hashlib.blake2b(whole, digest_size=16).digest()

    chunks = [range(start, min(start + 64, total)) for start in range(0, total, 64)]
    with ThreadPoolExecutor(workers) as pool:
        for chunk, _ in zip(chunks, pool.map(read, chunks), strict=True):
            if progress is not None:
                progress(chunk.stop)
    for rows in torch.arange(total).split(4096):
        plain[rows] &= _detail(grey[rows].float()).square().mean((1, 2)) < _PLAIN_DETAIL**2
    seen: dict[bytes, int] = {}
    first = torch.tensor([row if look is None else seen.setdefault(look, row) for row, look in enumerate(looks)])
    new = torch.tensor([look is not None for look in looks], dtype=torch.bool) & (first == torch.arange(total))
    copies = (first != torch.arange(total)).nonzero().flatten()
    return _Prints(
        grey,
        colour,
        detailed=(new & ~plain).nonzero().flatten(),
        plain=(new & plain).nonzero().flatten(),
        copies=torch.stack([first[copies], copies], 1),
    )


def _look(image: Image.Image) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8], float]:
    """Return a grey and a colour thumbnail, and the variance that the grey one lacks (squared grey levels)."""
    variance = ImageStat.Stat(image.convert("L")).var[0]
    # Reducing by a whole factor first is quick, and saves memory: 50 megapixels as floats take 200 MB.
    small = image.reduce(factor) if (factor := min(image.size) // 256) > 1 else image
    floats = small.convert("L").convert("F")
    grey = np.asarray(floats.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), np.float32)
    texture = variance - float(grey.var())
    grey = _SHARPNESS @ grey @ _SHARPNESS.T
    return (
        (grey - grey.mean()).astype(np.float16),
        np.array(small.resize((_COLOURS,) * 2, Image.Resampling.BOX)),
        texture,
    )


def _compare_detailed(prints: _Prints) -> tuple[Tensor, Tensor]:
    """Find copies among images with detail.

    Returns:
        (P, 2) positions of the pairs, and (P,) their difference, from 0 to the limit of 1.
    """
    pairs, mirrored = _candidates(prints.grey, prints.detailed)
    found, differences = [pairs[:0]], [torch.zeros(0)]
    for at, turned in zip(pairs.split(256), mirrored.split(256), strict=True):
        one, other = (prints.grey[rows].float() for rows in at.unbind(1))
        colours, others = (prints.colour[rows].float().permute(0, 3, 1, 2) for rows in at.unbind(1))
        other = torch.where(turned[:, None, None], other.flip(2), other)
        others = torch.where(turned[:, None, None, None], others.flip(3), others)
        whole, scale, shift = _align(one, other)
        detail, _ = _unit(_inner(_detail(one)))
        detail = (detail * _unit(_warp(_detail(other), scale, shift, _RIM))[0]).sum((1, 2))
        others = _warp(others, scale[:, None], shift[:, None], 0)
        exposure = (colours.mean((1, 2, 3)) / others.mean((1, 2, 3)).clamp_min(1)).clamp(0.75, 1.33)
        colour = (colours - others * exposure[:, None, None, None]).square().mean((1, 2, 3)).sqrt()
        difference = torch.maximum((1 - whole) / (1 - _WHOLE), (1 - detail) / (1 - _DETAIL))
        same = (difference <= 1) & (colour < _COLOUR)
        found.append(at[same])
        differences.append(difference[same])
    return torch.cat(found), torch.cat(differences)


def _compare_plain(prints: _Prints) -> tuple[Tensor, Tensor]:
    """Find copies among images without detail, with results as in `_compare_detailed`."""
    colour = prints.colour[prints.plain].float()
    flat, mirror = colour.flatten(1), colour.flip(2).flatten(1)
    total = len(flat)
    found, differences = [], []
    for block in torch.arange(total).split(max(16, _BLOCK // max(total, 1))):
        distance = torch.minimum(*(torch.cdist(side[block], flat, p=math.inf) for side in (flat, mirror)))
        distance[torch.arange(len(block)), block] = math.inf
        closest, other = distance.topk(min(_NEIGHBOURS, total), 1, largest=False)
        one = block[:, None].expand_as(other)
        same = closest <= _PLAIN_COLOUR
        found.append(prints.plain[torch.stack([one[same], other[same]], 1)])
        differences.append(closest[same] / _PLAIN_COLOUR)
    return torch.cat(found), torch.cat(differences)


def _candidates(grey: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Find pairs that agree in low frequencies.

    Returns:
        (P, 2) positions of the pairs, and (P,) whether one image has to be mirrored to agree.
    """
    total = len(rows)
    if total < 2:
        return torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
    wave = torch.arange(_FREQUENCIES)
    cosine = torch.cos(wave[:, None] * (torch.arange(_SIDE) + 0.5) * math.pi / _SIDE)
    cosine[0] /= math.sqrt(2)
    # In photographs, amplitudes fall with frequency. These weights make every frequency equally important.
    weight = (wave[:, None] ** 2 + wave**2).sqrt()
    spectrum = torch.cat([weight * (cosine @ grey[part].float() @ cosine.T) for part in rows.split(4096)])
    spectrum /= spectrum.square().sum((1, 2), keepdim=True).sqrt() + 1e-3
    # Mirroring changes only the sign of the odd horizontal frequencies.
    even, odd = spectrum[:, :, 0::2].flatten(1), spectrum[:, :, 1::2].flatten(1)
    found = []
    for block in torch.arange(total).split(max(16, _BLOCK // total)):
        likeness = even[block] @ even.T
        likeness += (odd[block] @ odd.T).abs_()
        likeness[torch.arange(len(block)), block] = 0
        some = block[likeness.amax(1) > _ALIKE]
        best, other = likeness[some - block[0]].topk(min(_NEIGHBOURS, total), 1)
        one = some[:, None].expand_as(other)
        found.append((torch.minimum(one, other) * total + torch.maximum(one, other))[best > _ALIKE])
    pairs = torch.cat(found).unique()
    one, other = pairs // total, pairs % total
    return torch.stack([rows[one], rows[other]], 1), (odd[one] * odd[other]).sum(1) < 0


def _align(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Align pictures with others by shift and scale (Lucas-Kanade, inverse compositional, blind to gain and offset).

    Args:
        one: (B, S, S) the fixed pictures.
        other: (B, S, S) the pictures to move.

    Returns:
        (B,) the correlation inside the rim, and (B, 2) the scale and the shift (x, y) with which `_warp` aligns `other`
        with `one`.
    """
    target, norm = _unit(_inner(one))
    rows, columns = (_inner(slope) * _SIDE / 2 for slope in torch.gradient(one, dim=(1, 2)))
    x = _centres(_SIDE, _RIM)
    steps = torch.stack([columns * x, rows * x[:, None], columns, rows], 1) / norm[:, None]
    steps, target = steps.flatten(2), target.flatten(1)
    steps = steps - steps.mean(2, keepdim=True)
    steps = steps - (steps @ target[:, :, None]) * target[:, None]
    normal = steps @ steps.transpose(1, 2)
    ridge = 1e-3 * torch.diag_embed(normal.diagonal(dim1=1, dim2=2)) + 1e-9 * torch.eye(4)
    solver = torch.linalg.solve(normal + ridge, steps)
    scale, shift = torch.ones(len(one), 2), torch.zeros(len(one), 2)
    best, best_scale, best_shift = torch.full((len(one),), -1.0), scale, shift
    for _ in range(7):
        seen = _unit(_warp(other, scale, shift, _RIM))[0].flatten(1)
        whole = (target * seen).sum(1)
        better = (whole > best)[:, None]
        best = torch.maximum(best, whole)
        best_scale, best_shift = torch.where(better, scale, best_scale), torch.where(better, shift, best_shift)
        error = seen / whole.clamp_min(0.3)[:, None] - target
        step = (solver @ error[:, :, None])[:, :, 0].clamp(-0.1, 0.1)
        scale = (scale / (1 + step[:, :2])).clamp(0.85, 1.18)
        shift = (shift - scale * step[:, 2:]).clamp(-0.2, 0.2)
    return best, best_scale, best_shift


def _warp(pictures: Tensor, scale: Tensor, shift: Tensor, rim: int) -> Tensor:
    """Scale and shift pictures (..., S, S) bilinearly, by (..., 2) x and y in half sides, and cut off the rim."""
    side = pictures.shape[-1]
    at = scale[..., None] * _centres(side, rim) + shift[..., None]
    at = ((at + 1) * side / 2 - 0.5).clamp(0, side - 1)
    columns, rows = (1 - (at[..., None] - torch.arange(side)).abs()).clamp_min(0).unbind(-3)
    return rows @ pictures @ columns.transpose(-1, -2)


def _centres(side: int, rim: int) -> Tensor:
    """Return the pixel centres of a picture that spans -1 to 1, without the rim."""
    return ((torch.arange(side) + 0.5) * 2 / side - 1)[rim : side - rim]


def _inner(pictures: Tensor) -> Tensor:
    return pictures[:, _RIM:-_RIM, _RIM:-_RIM]


def _detail(grey: Tensor) -> Tensor:
    return grey - _SMOOTH @ grey @ _SMOOTH.T


def _unit(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures (B, S, S) with mean 0 and norm 1, and their norms (B, 1, 1); norms include a floor of noise."""
    pictures = pictures - pictures.mean((1, 2), keepdim=True)
    norm = (pictures.square() + _FLOOR**2).sum((1, 2), keepdim=True).sqrt()
    return pictures / norm, norm


def _blur(weights: Sequence[float]) -> Tensor:
    """Return the (S, S) matrix that blurs columns of pixels; the border is repeated outwards."""
    matrix, half = torch.zeros(_SIDE, _SIDE), len(weights) // 2
    for row in range(_SIDE):
        for step, weight in enumerate(weights):
            matrix[row, min(max(row + step - half, 0), _SIDE - 1)] += weight / sum(weights)
    return matrix


_SHARPNESS = _blur((1, 2, 1)).numpy()
_SMOOTH = _blur((1, 4, 6, 4, 1))


def connected(pairs: Tensor, total: int) -> Tensor:
    """Return, for each of `total` images, the number of its connected component."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = pairs.T.numpy()
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(total, total))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()
