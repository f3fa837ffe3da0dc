"""Time the mixing of a batch: BackMix, CutMix of torchvision, and the steps of BackMix done image by image.

Seven ways take turns in one process, so that a machine whose speed drifts slows all of them equally:

- backmix: `mix(images, index)` with its defaults, on a normalised batch. Every image has a map.
- in place: The same with `inplace=True`, which saves the copy of the batch.
- copy: `images.clone()`, with which backmix and cutmix begin. No way that returns a new batch can cost less.
- cutmix: `torchvision.transforms.v2.CutMix(num_classes=10)` on the same batch and its labels.
- backmix + crop: The same mixing, then `FlipCrop`. These are all the steps of the published data set class that remain
  for images that are decoded, resized and normalised.
- per image: The steps of that class as in a `Dataset`, one image after the other, with NumPy, PIL and the transforms of
  torchvision, on images that are decoded in memory. For each image: resize, central crop, tensor, normalise; the same
  for a donor; choose the 16 highest cells of the donor's 8x8 map, enlarge them to pixels, and grey them; cut a patch
  and paste it; convert back to 8 bits and to PIL, flip, pad and crop, tensor, normalise.
- per image, mixing only: The same without the last five steps.

The ratio `per image / backmix + crop` compares the whole pipelines, and `per image, mixing only / backmix` compares
the mixing alone. Reading and decoding of files is in none of them. All times are medians.

Run: python benchmarks/mixing.py [--rounds 100] [--threads 1] [--device cpu] [--layout channels_last] [--dtype float32]
    [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import functional, v2

from backmix.mixing import BackMix, FlipCrop

BATCHES = ((128, 32), (64, 224))  # The number of images in a batch, and their side.
BANK = 50_000  # The number of training images, as in CIFAR-10.
RATIOS = (
    ("cutmix", "backmix"),
    ("per image, mixing only", "backmix"),
    ("per image, mixing only", "in place"),
    ("per image", "backmix"),
    ("per image", "backmix + crop"),
    ("per image", "copy"),
)


class PerImage:
    """The steps of the published data set class, one image at a time (see the top of this file)."""

    def __init__(self, images: int, size: int, random: np.random.Generator) -> None:
        pixels = random.integers(0, 256, (images, size, size, 3), dtype=np.uint8)
        self.pictures = [Image.fromarray(picture) for picture in pixels]
        self.bank = torch.from_numpy(random.random((images, 8, 8), dtype=np.float32))
        self.size, self.side, self.random = size, size // 4, random
        self.to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])
        self.load = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size), self.to_tensor])
        self.augment = transforms.Compose(
            [transforms.RandomHorizontalFlip(), transforms.RandomCrop(size, padding=size // 8), self.to_tensor]
        )

    def mix(self, number: int) -> tuple[Tensor, Tensor]:
        raw = self.load(self.pictures[number])
        mixed, side, room = raw.clone(), self.side, self.size - self.side
        top, left = self.random.integers(0, room, 2)
        donor = int(self.random.integers(0, len(self.pictures)))
        weight = self.bank[donor].flatten()
        chosen = (weight / weight.sum()).sort(descending=True).indices[:16]
        cells = torch.zeros(64)
        cells[chosen] = 1.0
        masked = F.interpolate(cells.view(1, 1, 8, 8), size=(self.size, self.size), mode="nearest")[0]
        background = self.load(self.pictures[donor]) * (1 - masked)
        from_top, from_left = self.random.integers(0, room, 2)
        patch = background[:, from_top : from_top + side, from_left : from_left + side]
        mixed[:, top : top + side, left : left + side] = patch
        return raw, mixed

    def __call__(self, number: int) -> tuple[Tensor, Tensor]:
        raw, mixed = self.mix(number)
        return raw, self.augment(functional.to_pil_image((mixed * 0.25 + 0.5).clamp(0, 1)))


def ways_of(
    batch: int, size: int, device: torch.device, layout: torch.memory_format, dtype: torch.dtype = torch.float32
) -> dict[str, tuple[Callable, int]]:
    """Return name -> (function to time, number of images that one call handles)."""
    shape = (batch, 3, size, size)
    images = torch.randn(shape) if dtype.is_floating_point else torch.randint(0, 256, shape)
    images = images.to(device, dtype).contiguous(memory_format=layout)
    labels = torch.randint(0, 10, (batch,), device=device)
    crop, cutmix = FlipCrop(size // 8), v2.CutMix(num_classes=10)
    grey = 0.0 if dtype.is_floating_point else 128.0
    mix, in_place = (BackMix(BANK, fill_value=grey, inplace=inplace).to(device) for inplace in (False, True))
    for each in (mix, in_place):
        each.bank.update(torch.arange(BANK, device=device), torch.rand(BANK, 8, 8, device=device))
    given = images.clone()
    # Every batch has other images, as in training. The same images would still be in the cache.
    indices = list(torch.randperm(BANK)[: BANK - BANK % batch].split(batch))
    per_image = PerImage(batch, size, np.random.default_rng(0))
    some = 8 if size < 64 else 2

    def one_by_one(step: Callable[[int], object]) -> Callable[[], object]:
        return lambda: [step(number) for number in range(some)]

    def mixed(how: BackMix = mix, batch: Tensor = images) -> Tensor:
        indices.append(indices.pop(0))
        return how(batch, indices[0])

    return {
        "backmix": (mixed, batch),
        "in place": (lambda: mixed(in_place, given), batch),
        "copy": (lambda: images.clone(), batch),
        "cutmix": (lambda: cutmix(images, labels), batch),
        "backmix + crop": (lambda: crop(mixed()), batch),
        "per image, mixing only": (one_by_one(per_image.mix), some),
        "per image": (one_by_one(per_image), some),
    }


def microseconds(ways: dict[str, tuple[Callable, int]], rounds: int, device: torch.device) -> dict[str, float]:
    """Return the median time per image of each way; the ways take turns in each round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (call, images) in ways.items():
            # The first call of a turn is not counted, because the way before it has filled the cache.
            for counted in (False, True, True, True):
                begin = time.perf_counter()
                result = call()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if counted:
                    found[name].append(1e6 * (time.perf_counter() - begin) / images)
                del result
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="for the batch of 32x32; the larger takes a tenth")
    parser.add_argument("--threads", type=int, default=1, help="of torch; one by one, images never use more than one")
    parser.add_argument("--device", default="cpu", help="of the batches; one by one, images stay on the CPU")
    parser.add_argument("--layout", choices=["channels_last", "contiguous_format"], default="channels_last")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "uint8"], default="float32", help="of the batches")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = torch.device(args.device)
    results = []
    for batch, size in BATCHES:
        ways = ways_of(batch, size, device, getattr(torch, args.layout), getattr(torch, args.dtype))
        times = microseconds(ways, args.rounds if size < 64 else max(3, args.rounds // 10), device)
        ratios = {f"{a} / {b}": times[a] / times[b] for a, b in RATIOS}
        results.append({"batch": [batch, 3, size, size], "microseconds": times, "ratio": ratios})
    table = Table(
        "microseconds per image", title=f"Medians on {device}, {args.threads} thread(s), {args.layout}, {args.dtype}"
    )
    for result in results:
        table.add_column("x".join(map(str, result["batch"])), justify="right")
    for kind in ("microseconds", "ratio"):
        for name in results[0][kind]:
            table.add_row(name, *(f"{result[kind][name]:.2f}" for result in results))
        table.add_section()
    Console().print(table)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        shared = {
            "device": args.device,
            "threads": args.threads,
            "layout": args.layout,
            "dtype": args.dtype,
            "rounds": args.rounds,
        }
        args.json.write_text(json.dumps({**shared, "batches": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
