"""The network and the weights to start from, chosen by the images and the machine where nothing is said."""

from __future__ import annotations

from dataclasses import dataclass

from backmix.errors import in_one_line
from backmix.models import BACKBONES

SMALL = "compact"
"""For images that are small, or where there are no published weights: trains in minutes on a processor."""

PUBLISHED = {"cpu": "resnet18.a1_in1k", "accelerator": "resnet50.a1_in1k"}
"""For photographs, from published weights, by what the machine computes on."""

LEAST_SIDE = 96  # Smaller images than that are unlike those that the published weights have seen.


@dataclass(frozen=True)
class ModelChoice:
    """A network, whether it starts from published weights, and why, in words."""

    model: str
    pretrained: bool
    why: str


def choose_model(
    image_size: int, *, model: str | None = None, pretrained: bool | None = None, accelerator: bool = False
) -> ModelChoice:
    """The network to train and the weights to start from.

    Args:
        image_size: side of the images in pixels.
        model: what was asked for; None: chosen.
        pretrained: whether published weights were asked for; None: where they are at hand.
        accelerator: whether there is one.

    Raises:
        ValueError: when published weights are asked for of a network that has none.
    """
    if pretrained is False:
        return ModelChoice(model or SMALL, False, "random weights, as asked for")
    if model is None and pretrained is None and image_size < LEAST_SIDE:
        return ModelChoice(SMALL, False, f"random weights: images of {image_size} px are too small for published ones")
    name = model or PUBLISHED["accelerator" if accelerator else "cpu"]
    if name in BACKBONES:
        if pretrained:
            raise ValueError(f"there are no published weights of {name}; take --no-pretrained, or a model of timm")
        return ModelChoice(name, False, "random weights: none are published")
    if pretrained:
        return ModelChoice(name, True, "published weights, as asked for")
    there, why = weights_at_hand(name)
    if there:
        return ModelChoice(name, True, f"published weights, {why}")
    return ModelChoice(model or SMALL, False, f"random weights: those published of {name} {why}")


def weights_at_hand(name: str, *, timeout: float = 5.0) -> tuple[bool, str]:
    """Whether the published weights of a timm model can be had, and where or why not, as the end of a sentence.

    Args:
        name: as timm has it, with or without "timm/" before it.
        timeout: seconds to wait for the hub, where they are not in the cache.
    """
    import timm
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    try:
        config = timm.get_pretrained_cfg(name.removeprefix("timm/"), allow_unregistered=False)
    except RuntimeError:  # Whoever builds it says what is wrong with the name.
        return False, "are not there: timm has no such model"
    repository = getattr(config, "hf_hub_id", None)
    if not repository:
        return False, "are not there: timm names none"
    files = ("model.safetensors", getattr(config, "hf_hub_filename", None) or "pytorch_model.bin")
    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        return True, "in the cache"
    if constants.HF_HUB_OFFLINE:
        return False, "are not in the cache, and HF_HUB_OFFLINE forbids to fetch them"
    try:
        get_hf_file_metadata(hf_hub_url(repository, files[0]), timeout=timeout)
    except Exception as error:  # Whatever the network or its client come up with, there are no weights.
        return False, f"are not in the cache and cannot be fetched ({in_one_line(error)[:120]})"
    return True, "fetched from the hub"
