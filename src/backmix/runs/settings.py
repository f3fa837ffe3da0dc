"""What the settings and the weights of a run must be before a network is built from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from msgspec import Meta, Struct, ValidationError, convert
from torch import Tensor

MAX_IMAGE_SIZE = 2048  # In pixels.


class Settings(Struct, frozen=True):
    """The entries of config.yaml that a network is built from; people may add others.

    Attributes:
        model: The name of the network, never of a place from which its definition would be fetched.
        method: The name of the method.
        image_size: The side of the images in pixels.
        precision: "bf16" or "fp32".
        model_options: The options of the network.
        method_options: The options of the method.
        mean, std: The mean and the standard deviation by which images are normalised.
        frozen: Whether the head alone was trained.
        value_ranges: The ranges of deep pixels, see `backmix.data.value_range.read_ranges`.
        decoding: The version of decoding, see `backmix.data.photo`.
    """

    model: str
    method: str
    image_size: Annotated[int, Meta(ge=1, le=MAX_IMAGE_SIZE)]
    precision: Literal["bf16", "fp32"]
    model_options: dict[str, Any]
    method_options: dict[str, Any]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    # Runs of earlier versions do not have these entries.
    frozen: bool = False
    value_ranges: Any = {}
    decoding: Literal[1, 2] = 1

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """Return the settings in the content of a config.yaml.

        Raises:
            ValueError: If an entry is missing, of another type or out of range, or if the network lies elsewhere.
        """
        try:
            settings = convert(config, cls)
        except ValidationError as error:
            raise ValueError(f"config.yaml: {error}") from None
        if not all(map(math.isfinite, settings.mean)) or not all(0 < each < math.inf for each in settings.std):
            raise ValueError(f"config.yaml: images cannot be normalised by {settings.mean} and {settings.std}")
        if ":" in settings.model:
            raise ValueError(f"its network {settings.model!r} lies in another place, which is not asked")
        return settings


def check_weights(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless each tensor has the type of the network's own, and only finite values.

    Other types would be cast without a word. Names and shapes are checked by `load_state_dict`.

    Args:
        weights: The tensors of the file by name.
        wanted: The tensors of the network by name.
    """
    for name, value in weights.items():
        if name in wanted and value.dtype != wanted[name].dtype:
            kinds = [str(kind).removeprefix("torch.") for kind in (value.dtype, wanted[name].dtype)]
            raise ValueError(f"the weights {name} are {kinds[0]}; expected {kinds[1]}")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            bad = int((~torch.isfinite(value)).sum())
            raise ValueError(f"{bad} of the {value.numel()} weights {name} are no finite numbers. Train again")
