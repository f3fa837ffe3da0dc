"""The packages and published weights that only the estimators need. They are loaded when an estimator is made."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from backmix.errors import BackmixError, in_one_line


class MissingLibraryError(BackmixError, ImportError):
    """The error for a package that is needed, not part of the plain installation and not there."""


class MissingWeightsError(MissingLibraryError):
    """The error for published weights that are neither in the cache nor given as a file; nothing was downloaded."""


def require(module: str, name: str) -> Any:
    """Import a module.

    Args:
        module: The dotted name of the module.
        name: The name of the estimator that needs it, for the error.

    Raises:
        MissingLibraryError: If the module cannot be imported; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingLibraryError(
            f"{name}: needs {module.partition('.')[0]}, which cannot be imported ({error}); "
            f'pip install "backmix[foregrounds]"'
        ) from error


def find_weights(
    timm: Any,
    name: str,
    weights: str | os.PathLike[str] | None,
    cache_dir: str | os.PathLike[str] | None,
    download: bool,
) -> Path:
    """Return the file with the weights of a timm model.

    Args:
        timm: The package timm.
        name: The name of the model, with the tag of its weights.
        weights: A file to use. None: look for the published weights.
        cache_dir: The folder of the client of the hub. None: its own folder.
        download: Whether weights may be downloaded.

    Raises:
        MissingWeightsError: If the published weights are not in the cache and are not downloaded.
        ValueError: If the given file is no .safetensors file, or if no weights are published for the model.
    """
    if weights is not None:
        if Path(weights).suffix != ".safetensors" or not Path(weights).is_file():
            raise ValueError(f"attention: weights is a .safetensors file; there is none at {os.fspath(weights)!r}")
        return Path(weights)
    hub = require("huggingface_hub", "attention")
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise ValueError(f"attention: timm publishes no weights for {name!r}; give a file as weights")
    folder = None if cache_dir is None else os.fspath(cache_dir)
    found = hub.try_to_load_from_cache(config.hf_hub_id, "model.safetensors", cache_dir=folder)
    if isinstance(found, str):
        return Path(found)
    if download:
        try:
            return Path(hub.hf_hub_download(config.hf_hub_id, "model.safetensors", cache_dir=folder))
        except Exception as error:
            raise MissingWeightsError(
                f"attention: the weights of {name} could not be downloaded: {in_one_line(error)}"
            ) from error
    raise MissingWeightsError(
        f"attention: the weights of {name} are not in the cache ({folder or hub.constants.HF_HUB_CACHE}), and nothing "
        f"is downloaded unasked. Where there is a network, make it once with download=True, or run "
        f"`hf download {config.hf_hub_id} model.safetensors`; or give a .safetensors file as weights, or "
        f"pretrained=False for random weights"
    )


def check_weights(file: Path, wanted: Iterable[str], name: str) -> None:
    """Raise ValueError if a file lacks tensors of a model.

    timm leaves out tensors that do not fit if the head differs, and a half random network looks like a real one.

    Args:
        file: The .safetensors file.
        wanted: The names of the tensors of the model.
        name: The name of the model, for the error.

    Raises:
        ValueError: If tensors are missing.
    """
    with require("safetensors", "attention").safe_open(file, framework="pt") as content:
        missing = sorted(set(wanted) - set(content.keys()))
    if missing:
        raise ValueError(
            f"attention: {file.name} is not the weights of {name}: {len(missing)} tensors are missing, {missing[0]} "
            f"for one"
        )
