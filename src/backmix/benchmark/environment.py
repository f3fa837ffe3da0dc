"""The environment in which a result was made: code, packages and machine."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import backmix.version

PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", "scikit-learn", "pillow", "datasets", "pytorch-ood")


def describe_environment(device: torch.device | str, precision: str) -> dict[str, Any]:
    """Describe the code, the packages and the machine of a result, as JSON.

    Args:
        device: The device of the training.
        precision: The arithmetic precision of the training.

    Returns:
        `version` (of this package, with the fingerprint of its code), `packages`, `python`, `device` (its kind and
        model), `threads` and `precision`. The names of the machine and of persons are not included.
    """
    device = torch.device(device)
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "version": f"{backmix.version.__version__}+{code_fingerprint()}",
        "packages": packages,
        "python": platform.python_version(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "precision": precision,
    }


def device_name(device: torch.device) -> str:
    """Return the kind and the model of a device."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        return f"cpu: {_cpu_model()}"
    return device.type


@cache
def code_fingerprint() -> str:
    """Return the first 10 digits of the SHA-256 of this package's sources.

    The fingerprint tells apart states of the code that share a version number.
    """
    root = Path(backmix.version.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:10]


@cache
def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return model or platform.processor() or platform.machine()
