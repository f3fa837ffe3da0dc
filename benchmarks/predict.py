"""Measure what prediction costs beyond the network: `OpenSetClassifier.predict` against its bare backbone.

Both see the same decoded images in the same batches. The bare backbone gets normalised images; predict also
normalises, applies the head, computes scores, compares them with the threshold and makes the answers. On a processor
predict gives the network fewer images at a time (`backmix.inference.evaluation.most_at_a_time`), which can save more
time than the other steps cost.

Run: python benchmarks/predict.py [--data DATA] [--images 2000] [--model compact] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from backmix.classifier import OpenSetClassifier
from backmix.data.load import load_source
from backmix.data.loader import decode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="as for backmix fit")
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    source = load_source(args.data, args.split)
    classifier = OpenSetClassifier(source.classes, model=args.model, image_size=args.image_size)
    classifier.network.to(memory_format=torch.channels_last).eval()
    positions = [i % len(source) for i in range(args.images)]
    images = decode(source, source.labels, classifier.preprocess, positions=positions).images
    classifier.calibrate(source, positions=range(min(200, len(source))))
    batches = [classifier.preprocess.normalise(part) for part in images.split(256)]
    backbone = classifier.network.backbone

    def bare() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            for batch in batches:
                backbone(batch)

    def predict() -> None:
        classifier.predict(images, batch_size=256)

    times: dict[str, list[float]] = {"backbone": [], "predict": []}
    for number in range(args.rounds + 1):
        for name, call in (("backbone", bare), ("predict", predict)):
            begin = time.perf_counter()
            call()
            if number:  # The first round compiles kernels.
                times[name].append(time.perf_counter() - begin)
    result = {
        "model": args.model,
        "images": args.images,
        "image_size": args.image_size,
        "threads": torch.get_num_threads(),
        "images_per_second": {name: args.images / statistics.median(found) for name, found in times.items()},
        "throughput_ratio": statistics.median(a / b for a, b in zip(times["backbone"], times["predict"], strict=True)),
    }
    print(f"{args.images} images of {args.image_size} px, {args.model}, {result['threads']} threads")
    for name, found in result["images_per_second"].items():
        print(f"  {name:9s} {found:8.0f} images/s")
    print(f"  predict reaches {result['throughput_ratio']:.3f} of the backbone's throughput")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
