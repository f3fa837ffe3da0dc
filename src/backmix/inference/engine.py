"""Compute the pooled features of a frozen backbone as fast as the machine allows.

On a CPU, onnxruntime runs a convolutional network several times as fast as PyTorch does. Which engine is faster is
measured, once for each network and machine, and kept beside the written network in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from backmix.data.preprocess import Preprocess
from backmix.files import write_bytes, write_text
from backmix.models.quiet import quiet

AT_A_TIME = 8  # Images in one call of onnxruntime on one core. Larger batches leave the caches of the processor.
TRIAL = 16  # The number of images that an engine is measured on.
OPSET = 20


class Engine(Protocol):
    """A function that computes the pooled features of a backbone.

    Attributes:
        name: The name and version, which is part of the key of cached features.
        parallel: The number of threads that may compute at once, each on one core; 1 if a call uses all cores itself.
    """

    name: str
    parallel: int

    def pooled(self, images: Tensor) -> Tensor:
        """Return the pooled features (B, C) float32 on the CPU of images (B, 3, S, S) uint8."""

    def maps(self, images: Tensor) -> Tensor:
        """Return the feature maps before pooling (B, C, h, w) float32 on the CPU of images (B, 3, S, S) uint8."""


class TorchEngine:
    """PyTorch itself, on the device of the backbone.

    Args:
        backbone: The backbone: normalised images (B, 3, S, S) -> feature map (B, C, h, w).
        preprocess: The preprocessing that normalises the images.
        precision: "bf16" or "fp32".
    """

    parallel = 1

    def __init__(self, backbone: nn.Module, preprocess: Preprocess, precision: str) -> None:
        self.backbone, self.preprocess, self.precision = backbone, preprocess, precision
        self.name = f"torch {torch.__version__} {precision}"

    def pooled(self, images: Tensor) -> Tensor:
        """See `Engine.pooled`."""
        return torch.cat([maps.mean((2, 3)).cpu() for maps in self._parts(images)])

    def maps(self, images: Tensor) -> Tensor:
        """See `Engine.maps`."""
        return torch.cat([maps.cpu() for maps in self._parts(images)])

    @torch.no_grad()
    def _parts(self, images: Tensor) -> Iterator[Tensor]:
        self.backbone.eval()
        device = next(self.backbone.parameters()).device
        for part in images.split(256 if device.type != "cpu" else 32):
            normalised = self.preprocess.normalise(part.to(device, non_blocking=True))
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                maps = self.backbone(normalised)
            yield maps.float()


class OnnxEngine:
    """The same computation in onnxruntime, on one core a call.

    Args:
        path: The file that `write_onnx` wrote.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.name = f"onnxruntime {onnxruntime.__version__} fp32"
        self.parallel = cores()

    def pooled(self, images: Tensor) -> Tensor:
        """See `Engine.pooled`."""
        return self._run("pooled", images)

    def maps(self, images: Tensor) -> Tensor:
        """See `Engine.maps`."""
        return self._run("maps", images)

    def _run(self, output: str, images: Tensor) -> Tensor:
        def one_call(part: Tensor) -> Tensor:
            found: list[Any] = self.session.run([output], {"images": np.ascontiguousarray(part.numpy())})
            return torch.from_numpy(found[0])

        parts = images.split(AT_A_TIME)
        if len(parts) == 1:
            return one_call(images)
        with ThreadPoolExecutor(self.parallel) as pool:
            return torch.cat(list(pool.map(one_call, parts)))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def network_key(backbone: nn.Module, preprocess: Preprocess) -> str:
    """Return a name for a backbone with its weights and its preprocessing: equal if and only if these are equal."""
    return weights_key(backbone, getattr(backbone, "name", ""), preprocess)


def weights_key(module: nn.Module, *more: object) -> str:
    """Return a name for the weights of a module and whatever else: equal if and only if these are equal."""
    digest = hashlib.sha256(repr((type(module).__name__, more)).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def choose_engine(
    backbone: nn.Module,
    preprocess: Preprocess,
    *,
    precision: str = "fp32",
    folder: Path | None = None,
    build: bool = True,
    key: str | None = None,
) -> Engine:
    """Return the faster engine on this machine.

    On an accelerator, in bf16, or without onnxruntime it is PyTorch. Otherwise both engines run a few images once, and
    the result is kept, so that later processes choose alike.

    Args:
        backbone: The backbone, whose weights do not change any more.
        preprocess: The preprocessing that normalises the images.
        precision: "bf16" or "fp32".
        folder: The folder in which the network is kept for onnxruntime; None: PyTorch is taken.
        build: Whether to write the network for onnxruntime if the folder does not hold it. That takes a few seconds.
        key: The name of the network, see `network_key`; None: it is computed.
    """
    plain = TorchEngine(backbone, preprocess, precision)
    device = next(backbone.parameters()).device
    packages = ("onnxruntime",) if not build else ("onnx", "onnxscript", "onnxruntime")
    if device.type != "cpu" or precision != "fp32" or folder is None or any(find_spec(p) is None for p in packages):
        return plain
    key = key or network_key(backbone, preprocess)
    versions = f"onnxruntime-{metadata.version('onnxruntime')}-torch-{torch.__version__}-{cores()}"
    path, kept = folder / f"{key[:32]}-maps.onnx", folder / f"{key[:32]}-{versions}.json"
    try:
        if not kept.is_file() and not build:
            return plain
        folder.mkdir(parents=True, exist_ok=True)
        # Processes that begin together write and measure the network one after the other, and so choose alike.
        with FileLock(folder / f"{key[:32]}.lock"):
            if kept.is_file() and json.loads(kept.read_text())["engine"] == "torch":
                return plain
            quick = _load_or_write(backbone, preprocess, path, build)
            if not kept.is_file():
                rates = {"torch": measure(plain, preprocess), "onnxruntime": measure(quick, preprocess)}
                best = max(rates, key=lambda name: rates[name])
                write_text(kept, json.dumps({"engine": best, "images_per_second": rates}) + "\n")
                return quick if best == "onnxruntime" else plain
            return quick
    except Exception:  # A network that cannot be written, a full disk, a damaged note: PyTorch gives the same answers.
        return plain


def _load_or_write(backbone: nn.Module, preprocess: Preprocess, path: Path, build: bool) -> OnnxEngine:
    """Return the engine of a file, which is written if it is missing, and written again if it is damaged."""
    if path.is_file():
        try:
            return OnnxEngine(path)
        except Exception:  # onnxruntime has many kinds of errors for a damaged file.
            if not build:
                raise
    write_onnx(backbone, preprocess, path)
    return OnnxEngine(path)


def measure(engine: Engine, preprocess: Preprocess) -> float:
    """Return the images that an engine computes in a second."""
    size = preprocess.image_size
    images = torch.randint(0, 256, (TRIAL, 3, size, size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    engine.pooled(images)  # The first call is slower.
    begin = time.perf_counter()
    engine.pooled(images)
    return TRIAL / (time.perf_counter() - begin)


def write_onnx(backbone: nn.Module, preprocess: Preprocess, path: Path) -> None:
    """Write normalisation, backbone and pooling as one ONNX file, whose outputs are the features and the maps.

    Raises:
        TrainingError: If the file cannot be written.
    """
    size = preprocess.image_size
    images = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    training = backbone.training
    try:
        with quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                _Pooled(backbone, preprocess).eval(),
                (images,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["images"],
                output_names=["pooled", "maps"],
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        backbone.train(training)
    write_bytes(path, program.model_proto.SerializeToString())


class _Pooled(nn.Module):
    """Normalisation, backbone and pooling: (B, 3, S, S) uint8 -> (B, C) and (B, C, h, w) float32."""

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.backbone = backbone
        mean, std = (torch.tensor(each)[:, None, None] for each in (preprocess.mean, preprocess.std))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", mean / std)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps: Tensor = self.backbone(images.float() * self.scale - self.shift).float()
        return maps.mean((2, 3)), maps
