"""Measure the pass over photographs that a frozen network takes, against the same engine without reading any file.

    python benchmarks/features.py DATA [--images 1000] [--json results/features.json]   # DATA: the folder of data sets

Photographs of caltech101 (long side 160 pixels) are written as JPEG files. Three rates are printed, in images a second,
each the best of some turns that alternate: `pass` decodes the files, runs EfficientNet-lite0 at 224 pixels and pools
its features, as `backmix fit` does; `engine` runs the same engine on decoded batches of 32, with one session of two
threads; `eager` is timm's network in PyTorch in float32, as timm makes it, on batches of 32. Ratios are what counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rich.console import Console

from backmix.data.folder import FolderSource
from backmix.data.load import load_source
from backmix.data.preprocess import Preprocess
from backmix.files import write_json
from backmix.inference.engine import OnnxEngine, cores
from backmix.inference.frozen import FrozenFeatures
from backmix.models import create_backbone

MODEL, SIZE, BATCH = "tf_efficientnet_lite0", 224, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    backbone = create_backbone(MODEL, image_size=SIZE, pretrained=True).eval()
    preprocess = Preprocess(SIZE, backbone.mean, backbone.std)
    with tempfile.TemporaryDirectory() as place:
        folder = write_photos(options.data, Path(place) / "photos", options.images)
        source = FolderSource(folder)
        frozen = FrozenFeatures(backbone, preprocess, folder=Path(place) / "cache")
        if not isinstance(frozen.engine, OnnxEngine):
            raise SystemExit(f"the engine that was chosen is {frozen.engine.name}: there is nothing to compare")
        (path,) = (Path(place) / "cache" / "engines").glob("*.onnx")
        images = torch.stack([preprocess.decode(source.read(i)) for i in range(len(source))])
        found: dict[str, list[float]] = {"pass": [], "engine": [], "eager": []}
        threaded = session(path)
        pooled = frozen.of(source, workers=cores()).features
        for _ in range(options.turns):
            found["engine"].append(rate(lambda: batches(threaded, images), len(images)))
            frozen.space = str(time.time())  # Nothing of an earlier pass is found again.
            found["pass"].append(rate(lambda: frozen.of(source, workers=cores()), len(images)))
            few = images[: 4 * BATCH]
            found["eager"].append(rate(lambda few=few: eager(backbone, preprocess, few), len(few)))
        reference = eager(backbone, preprocess, images[: 4 * BATCH])
    best = {name: max(rates) for name, rates in found.items()}
    result = {
        "model": MODEL,
        "image_size": SIZE,
        "images": options.images,
        "cores": cores(),
        "engine": frozen.engine.name,
        "images_per_second": {name: round(value, 1) for name, value in best.items()},
        "engine_to_pass": best["engine"] / best["pass"],
        "engine_to_eager": best["engine"] / best["eager"],
        "pass_to_eager": best["pass"] / best["eager"],
        "largest_difference": float((pooled[: 4 * BATCH] - reference).abs().max()),
        "largest_feature": float(reference.abs().max()),
    }
    Console().print(result)
    if options.json is not None:
        write_json(options.json, result)


def write_photos(data: Path, folder: Path, images: int) -> Path:
    """Write photographs of caltech101 as JPEG files, in two class folders."""
    written = 0
    for split in ("train", "test"):
        source = load_source(str(data / "caltech101"), split)
        for i in range(len(source)):
            if written == images:
                return folder
            place = folder / f"half-{written % 2}"
            place.mkdir(parents=True, exist_ok=True)
            source.read(i).save(place / f"{written:05d}.jpg", quality=92)
            written += 1
    raise SystemExit(f"caltech101 has {written} photographs; ask for no more")


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def batches(threaded: onnxruntime.InferenceSession, images: torch.Tensor) -> None:
    for part in images.split(BATCH):
        threaded.run(["pooled"], {"images": np.ascontiguousarray(part.numpy())})


@torch.no_grad()
def eager(backbone: torch.nn.Module, preprocess: Preprocess, images: torch.Tensor) -> torch.Tensor:
    torch.set_num_threads(cores())
    parts = images.split(BATCH)
    return torch.cat([backbone(preprocess.normalise(part).contiguous()).mean((2, 3)) for part in parts])


def rate(work: Callable[[], object], images: int) -> float:
    begin = time.perf_counter()
    work()
    return images / (time.perf_counter() - begin)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
