"""Audit a timm model, with its own head, its own normalisation and its own image size."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backmix.audit.class_map import Names
from backmix.audit.frame import Frame
from backmix.audit.models.base import Answers, ModelOptions
from backmix.errors import DataError, in_one_line
from backmix.files import sha256

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


class TimmModel:
    """A timm model with its published weights, or with the weights of a file. See `AuditedModel`.

    The file holds a state dict, as safetensors or as written by torch.save; only its tensors are read. The number of
    classes of the head comes from the file. Pictures are cut, resized and normalised as timm does for this model. If
    `options.image_size` is given and is not the size of the model, pictures are resized to it and not cut further.

    Args:
        spec: "NAME", "timm:NAME" or "timm:NAME@FILE".
        options: The image size and the device.

    Raises:
        DataError: If timm has no such model, or if the file does not fit the model.
        OSError: If the published weights are neither in the cache nor can be downloaded.
    """

    kind = "timm"
    score: str | None = None

    def __init__(self, spec: str, options: ModelOptions) -> None:
        timm: Any = importlib.import_module("timm")

        name, _, file = spec.removeprefix("timm:").partition("@")
        name = name.removeprefix("timm/")
        if ":" not in name and not timm.is_model(name.partition(".")[0]):
            close = difflib.get_close_matches(name.lower(), timm.list_models(), n=3, cutoff=0.6)
            raise DataError(
                f"there is no model {spec!r}: no such file or folder, and timm has no model of that name"
                f"{', did you mean ' + ' or '.join(close) + '?' if close else ''}"
            )
        self.notes: list[str] = []
        state = _read_state(Path(file).expanduser()) if file else None
        self._network = _create(timm, name, state, options.image_size).to(options.device).eval()
        config: Any = self._network.pretrained_cfg
        data: dict[str, Any] = timm.data.resolve_model_data_config(self._network)
        own = int(data["input_size"][-1])
        size = options.image_size or own
        if size == own:
            self.frame = Frame(size, float(data["crop_pct"]), data["interpolation"] == "bicubic")
        else:
            self.frame = Frame(size, 1.0, data["interpolation"] == "bicubic")
            self.notes.append(f"{name} is made for {own} pixels and is audited at {size}.")
        self._input = ModelOptions(mean=tuple(data["mean"]), std=tuple(data["std"]), device=options.device)
        self.names: Names | None = None
        if state is None:
            self.names = _published_names(timm, self._network)
            self.fingerprint = f"{config.get('architecture')}.{config.get('tag')} {timm.__version__}"
        else:
            self.fingerprint = f"{name} {sha256(Path(file).expanduser())} {timm.__version__}"

    @torch.no_grad()
    def answers(self, images: Tensor) -> Answers:
        """See `AuditedModel.answers`."""
        return Answers(self._network(self._input.normalise(images)).float().cpu(), None)


def _create(timm: Any, name: str, state: dict[str, Tensor] | None, size: int | None) -> Any:
    options: dict[str, Any] = {"pretrained": state is None}
    if state is not None:
        options["num_classes"] = _classes_of(timm, name, state)
    try:
        try:
            network = timm.create_model(name, **options, **({} if size is None else {"img_size": size}))
        except TypeError as error:
            if "img_size" not in str(error):
                raise
            network = timm.create_model(name, **options)  # This model takes any size, so it has no img_size.
        if state is not None:
            network.load_state_dict(state)
    except OSError as error:
        raise OSError(
            f"the published weights of {name} are not in the cache and could not be fetched ({in_one_line(error)}); "
            f"give a file of weights as timm:{name}@FILE.safetensors"
        ) from error
    except (RuntimeError, AssertionError, ValueError) as error:
        raise DataError(f"{name} cannot be made{_with(state, size)}: {in_one_line(error)}") from error
    return network


def _with(state: dict[str, Tensor] | None, size: int | None) -> str:
    return (" with these weights" if state is not None else "") + ("" if size is None else f" for {size} pixels")


def _classes_of(timm: Any, name: str, state: dict[str, Tensor]) -> int:
    """Return the number of classes of the head, from the weights that timm names as the classifier."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    head = getattr(config, "classifier", None)
    heads = [head] if isinstance(head, str) else list(head or ())
    sizes = {len(state[f"{one}.weight"]) for one in heads if f"{one}.weight" in state}
    if len(sizes) != 1:
        wanted = " and ".join(f"{one}.weight" for one in heads) or "a classifier"
        raise DataError(f"these weights are not those of {name} with its head: {wanted} is not among them")
    return sizes.pop()


def _read_state(path: Path) -> dict[str, Tensor]:
    if path.suffix.lower() not in WEIGHTS or not path.is_file():
        raise DataError(f"there is no file of weights {str(path)!r}; one is {', '.join(WEIGHTS)}")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path} cannot be read as weights: {in_one_line(error)}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path} holds no state dict, which is a tensor by name")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _published_names(timm: Any, network: Any) -> Names | None:
    """Return the names of the published classes if timm knows them, which it does for ImageNet; otherwise None."""
    try:
        subset = timm.data.infer_imagenet_subset(network)
        info = timm.data.ImageNetInfo(subset) if subset else None
    except (KeyError, ValueError, AssertionError):
        return None
    if info is None or info.num_classes() != network.num_classes:
        return None
    names = []
    for output in range(network.num_classes):
        described = [part.strip() for part in info.index_to_description(output).split(",")]
        names.append([*described, info.index_to_label_name(output)])
    return names
