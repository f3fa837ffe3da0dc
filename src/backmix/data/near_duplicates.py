"""Images that show the same picture.

An image tested on whose copy was trained on says nothing about new images. Two images are taken for copies when small
grey thumbnails of them, one laid over the other by shift and scale, agree as a whole and in their detail, and their
colours agree as well. Whatever could agree is found first, by low frequencies of the thumbnails.
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
from backmix.data.source import ImageSource, Subset

_SIDE = 32
_RIM = 2  # rim of the thumbnail that is not compared: a copy cut at the sides has nothing there
_COLOURS = 8
_FREQUENCIES = 8
_NEIGHBOURS = 16  # most similar images that are looked at for each; digits look alike by the thousand
_BLOCK = 2**23  # numbers in a block of the table of all pairs
_ALIKE = 0.7  # agreement in low frequencies from which two images are looked at; 0.76 for 99 % of crops of 3 % a side

# Chosen by looking at pairs sorted by likeness, from CIFAR-10, Tiny-ImageNet, Caltech-101, butterflies, textures and
# scenes: above them are copies, pictures retouched, and little else; below 0.8 of detail are other pictures.
_WHOLE, _DETAIL = 0.97, 0.85
_COLOUR = 25.0
_FLOOR = 0.03  # grey levels of noise; what varies less than this correlates with nothing
_PLAIN_DETAIL, _PLAIN_TEXTURE = 0.3, 4.0  # grey levels, squared grey levels
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

    Exact copies, and copies that were encoded again, resized (to no less than 32 pixels), mirrored, made up to a
    quarter brighter or darker, or cut by up to about 3 % on each side share a group, and so do photographs of a burst
    that differ as little. Copies of copies belong to the group too. Pictures of one plain colour are copies when the
    colours are the same. Labels play no part.

    Where images look alike by the dozen without being copies (digits, one cup from all sides), likeness leads from one
    to the next. A group of more than 20 images that are also more than 1 % of all is therefore formed again with half
    the difference allowed, up to three times.

    Args:
        source: where the images are.
        positions: (N,) which images of the source; None: all.
        workers: threads that decode.
        progress: called with the number of images read so far, now and then.

    Returns:
        (N,) int64 group of each image, numbered 0, 1, ... in the order in which they first appear. An image that cannot
        be read has a group of its own. Each image is read once and takes about 3 kB of memory. Comparing takes time
        that grows with the square of N: some two minutes of one processor core for 100,000 images.

    Raises:
        DataError: positions that the source does not have.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1; got {workers}")
    chosen = source if positions is None else Subset(source, positions)
    prints = _read(chosen, workers, progress)
    total = len(chosen)
    links = [(prints.copies, torch.zeros(len(prints.copies))), _compare_detailed(prints), _compare_plain(prints)]
    pairs, difference = (torch.cat(parts) for parts in zip(*links, strict=True))
    groups = _connected(pairs, total)
    for limit in _LIMITS:
        large = torch.bincount(groups) > max(_LARGE, _LARGE_SHARE * total)
        divided = len(large) + _connected(pairs[difference <= limit], total)
        groups = torch.where(large[groups], divided, groups).unique(return_inverse=True)[1]
    # Numbered in the order in which they first appear.
    first = torch.full((total,), total).scatter_reduce(0, groups, torch.arange(total), "amin")
    return first.argsort().argsort()[groups]


@dataclass(frozen=True)
class _Prints:
    """What is kept of N images: little, but enough to compare them.

    Attributes:
        grey: (N, 32, 32) float16 slightly blurred grey thumbnail, mean 0, in grey levels.
        colour: (N, 8, 8, 3) uint8.
        detailed: (D,) int64 first images of each exact look that have any detail.
        plain: (P,) int64 the same without detail: flat colours, smooth gradients.
        copies: (C, 2) int64 first image with exactly the same look, and the image.
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
                image = source.read(row)
            except ImageError:
                continue
            thumbnail, colours, texture = _look(image)
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
    """Thumbnail in grey and in colour, and how much the image varies beyond the former (squared grey levels)."""
    variance = ImageStat.Stat(image.convert("L")).var[0]
    # Whole factors first: quick, and a photograph of 50 megapixels as floats takes 200 MB.
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
    """Find copies among images with detail: (P, 2) positions, and (P,) how different, 0 to 1 where they just count."""
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
    """Find copies among images without detail, as `_compare_detailed`."""
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
    """Find pairs that agree in low frequencies: (P, 2) positions, and (P,) whether one has to be mirrored for that."""
    total = len(rows)
    if total < 2:
        return torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
    wave = torch.arange(_FREQUENCIES)
    cosine = torch.cos(wave[:, None] * (torch.arange(_SIDE) + 0.5) * math.pi / _SIDE)
    cosine[0] /= math.sqrt(2)
    # In photographs amplitudes fall with frequency; weighed like this, each frequency says equally much.
    weight = (wave[:, None] ** 2 + wave**2).sqrt()
    spectrum = torch.cat([weight * (cosine @ grey[part].float() @ cosine.T) for part in rows.split(4096)])
    spectrum /= spectrum.square().sum((1, 2), keepdim=True).sqrt() + 1e-3
    # Mirroring changes the sign of the odd frequencies across and nothing else.
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
    """Lay pictures over others by shift and scale (Lucas-Kanade, inverse compositional, blind to gain and offset).

    Args:
        one: (B, S, S).
        other: (B, S, S).

    Returns:
        (B,) correlation inside the rim, and (B, 2) scale and shift (x, y) for `_warp` that bring `other` onto `one`.
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
    """Pictures (..., S, S) scaled and shifted ((..., 2) x and y, in half sides), without a rim; bilinear."""
    side = pictures.shape[-1]
    at = scale[..., None] * _centres(side, rim) + shift[..., None]
    at = ((at + 1) * side / 2 - 0.5).clamp(0, side - 1)
    columns, rows = (1 - (at[..., None] - torch.arange(side)).abs()).clamp_min(0).unbind(-3)
    return rows @ pictures @ columns.transpose(-1, -2)


def _centres(side: int, rim: int) -> Tensor:
    """Where the pixels of a picture from -1 to 1 are, without a rim."""
    return ((torch.arange(side) + 0.5) * 2 / side - 1)[rim : side - rim]


def _inner(pictures: Tensor) -> Tensor:
    return pictures[:, _RIM:-_RIM, _RIM:-_RIM]


def _detail(grey: Tensor) -> Tensor:
    return grey - _SMOOTH @ grey @ _SMOOTH.T


def _unit(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (B, S, S) with mean 0 and norm 1, and their norms (B, 1, 1), with a floor of noise in both."""
    pictures = pictures - pictures.mean((1, 2), keepdim=True)
    norm = (pictures.square() + _FLOOR**2).sum((1, 2), keepdim=True).sqrt()
    return pictures / norm, norm


def _blur(weights: Sequence[float]) -> Tensor:
    """(S, S) matrix that blurs columns of pixels; the border is repeated outwards."""
    matrix, half = torch.zeros(_SIDE, _SIDE), len(weights) // 2
    for row in range(_SIDE):
        for step, weight in enumerate(weights):
            matrix[row, min(max(row + step - half, 0), _SIDE - 1)] += weight / sum(weights)
    return matrix


_SHARPNESS = _blur((1, 2, 1)).numpy()
_SMOOTH = _blur((1, 4, 6, 4, 1))


def _connected(pairs: Tensor, total: int) -> Tensor:
    """(total,) number of the connected part that each of them is in."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = pairs.T.numpy()
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(total, total))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()
