"""Measure what BackMix adds to a training step: without it, with a bank fed `free`, and with a bank fed `clean`.

Each of the three kinds has a network of its own with the same initial weights. All run in one process, and their steps
take turns, so that a machine whose speed drifts slows all of them equally. The script prints the median time of a step
and its ratio to a step without BackMix.

Run: python benchmarks/overhead.py [--model compact] [--batch-size 256] [--image-size 32] [--rounds 12] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from backmix.augmentations import Chain
from backmix.data.loader import Batch, Decoded, ResidentLoader
from backmix.data.preprocess import Preprocess
from backmix.methods.network import create_network
from backmix.mixing import BackMix
from backmix.train.loop import make_accelerator, train_step
from backmix.train.recipe import TrainOptions, make_optimizer


def endless(loader: ResidentLoader) -> Iterator[Batch]:
    for number in itertools.count():
        yield from loader.epoch(number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    size, images = args.image_size, 8 * args.batch_size
    pixels = torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8)
    decoded = Decoded(pixels, torch.randint(0, 6, (images,)), None, torch.arange(images), [])
    options = TrainOptions(batch_size=args.batch_size)
    accelerator = make_accelerator(options.precision)
    kinds: dict[str, BackMix | None] = {
        "none": None,
        "free": BackMix(images, foreground="free"),
        "clean": BackMix(images, foreground="clean"),
    }
    steps, times = {}, {}
    for kind, mix in kinds.items():
        torch.manual_seed(0)
        network = create_network(args.model, "softmax", 6, image_size=size)
        network = network.to(accelerator.device, memory_format=torch.channels_last).train()
        wrapped, optimizer = accelerator.prepare(network, make_optimizer(network, options))
        if mix is not None:
            mix.to(accelerator.device)
        chain = Chain([mix] if mix is not None else [])
        loader = ResidentLoader(decoded, batch_size=args.batch_size, device=accelerator.device)
        steps[kind] = (wrapped, network, chain, optimizer, endless(loader))
        times[kind] = []
    generators = {name: torch.Generator() for name in ("crop", "colour", "erase", "round", "outliers")}
    for round_number in range(args.rounds + 2):
        for kind, (wrapped, network, chain, optimizer, batches) in steps.items():
            begin = time.perf_counter()
            for _ in range(2):
                train_step(
                    accelerator,
                    wrapped,
                    network,
                    next(batches),
                    Preprocess(size),
                    options,
                    chain,
                    None,
                    [optimizer],
                    generators,
                )
            if accelerator.device.type == "cuda":
                torch.cuda.synchronize()
            if round_number >= 2:  # The first rounds compile kernels, and images have no map yet.
                times[kind].append((time.perf_counter() - begin) / 2)
    result = {
        "model": args.model,
        "batch_size": args.batch_size,
        "image_size": size,
        "device": str(accelerator.device),
        "threads": torch.get_num_threads(),
        "milliseconds": {kind: 1000 * statistics.median(found) for kind, found in times.items()},
        # Each step is compared with the step without BackMix of the same round.
        "ratio": {
            kind: statistics.median(a / b for a, b in zip(times[kind], times["none"], strict=True))
            for kind in ("free", "clean")
        },
    }
    print(f"{args.model}, batch {args.batch_size} of {size}x{size}, {result['device']}, {result['threads']} threads")
    for kind, found in result["milliseconds"].items():
        ratio = f"   {result['ratio'][kind]:.3f} times none" if kind != "none" else ""
        print(f"  {kind:5s} {found:8.1f} ms a step{ratio}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
