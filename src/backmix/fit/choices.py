"""Choose the network and the initial weights by the images and the machine, unless a person chooses them."""

from __future__ import annotations

from dataclasses import dataclass

from backmix.errors import in_one_line
from backmix.models import BACKBONES

SMALL = "compact"
"""The network for small images, or if there are no published weights. It trains in minutes on a CPU."""

PUBLISHED = {"cpu": "resnet18.a1_in1k", "accelerator": "resnet50.a1_in1k"}
"""The networks for photographs, with published weights, by the kind of the device."""

LEAST_SIDE = 96  # Smaller images are unlike the images that the published weights were trained on.


@dataclass(frozen=True)
class ModelChoice:
    """A choice of the network and its initial weights.

    Attributes:
        model: The name of the network.
        pretrained: Whether it starts from published weights.
        why: The reason, in words.
    """

    model: str
    pretrained: bool
    why: str


def choose_model(
    image_size: int, *, model: str | None = None, pretrained: bool | None = None, accelerator: bool = False
) -> ModelChoice:
    """Choose the network to train and its initial weights.

    Args:
        image_size: The side of the images in pixels.
        model: The requested network; None: one is chosen.
        pretrained: Whether to use published weights; None: they are used if they are available.
        accelerator: Whether the machine has an accelerator.

    Raises:
        ValueError: If published weights are requested for a network that has none.
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
    """Return whether the published weights of a timm model are available, and the end of a sentence that explains it.

    Args:
        name: The name of the model in timm, with or without "timm/" before it.
        timeout: The seconds to wait for the hub, if the weights are not in the cache.

    Returns:
        Whether they are available, and where they are or why they are not available.
    """
    import timm
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    try:
        config = timm.get_pretrained_cfg(name.removeprefix("timm/"), allow_unregistered=False)
    except RuntimeError:  # The code that builds the model raises the error about the name.
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
    except Exception as error:  # After any error of the network or its client, there are no weights.
        return False, f"are not in the cache and cannot be fetched ({in_one_line(error)[:120]})"
    return True, "fetched from the hub"
