"""Choose the network and the initial weights by the images and the machine, unless a person chooses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backmix.augmentations import AUGMENTATIONS
from backmix.errors import in_one_line
from backmix.fit.arguments import FitArguments
from backmix.methods import METHODS, Method
from backmix.models import BACKBONES
from backmix.models.published import EXTRA, in_hub_cache, installed_weights, package_of

SMALL = "compact"
"""The network for small images, or if there are no published weights. It trains in minutes on a CPU."""

PUBLISHED = {"cpu": ("tf_efficientnet_lite0",), "accelerator": ("resnet50.a1_in1k", "tf_efficientnet_lite0")}
"""The networks for photographs, by the kind of the device. The first one whose published weights are available is
taken."""

LEAST_SIDE = 64
"""Smaller images are too unlike those that the published weights were trained on; results/small.json has both ways."""


@dataclass(frozen=True)
class ModelChoice:
    """A choice of the network and its initial weights.

    Attributes:
        model: The name of the network.
        pretrained: Whether it starts from published weights.
        why: The reason, in words.
        image_size: The side of the images in pixels that the published weights were trained for. None: the weights are
            random.
    """

    model: str
    pretrained: bool
    why: str
    image_size: int | None = None


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
        why = f"images of {image_size} px are too small for published ones"
        why += ", but --train head takes them, which is quicker and, of few images, better"
        return ModelChoice(SMALL, False, f"random weights: {why}")
    if model in BACKBONES:
        if pretrained:
            raise ValueError(f"there are no published weights of {model}; take --no-pretrained, or a model of timm")
        return ModelChoice(model, False, "random weights: none are published")
    names = (model,) if model else PUBLISHED["accelerator" if accelerator else "cpu"]
    if pretrained and model:
        return ModelChoice(model, True, "published weights, as asked for", published_size(model))
    missing = []
    for name in names:
        there, why = weights_at_hand(name)
        if there:
            return ModelChoice(name, True, f"published weights, {why}", published_size(name))
        missing.append(f"those published of {name} {why}")
    if pretrained:  # Loading them says what is missing.
        return ModelChoice(names[-1], True, "published weights, as asked for", published_size(names[-1]))
    return ModelChoice(model or SMALL, False, f"random weights: {', '.join(missing)}; {_command_for(names[-1])}")


def choose_model_for(
    arguments: FitArguments, begun: Mapping[str, Any], image_size: int, *, accelerator: bool
) -> ModelChoice:
    """Choose the network of a training that a person asked for.

    Args:
        arguments: The options of the person.
        begun: The choices with which a run began that is resumed; empty for a new one.
        image_size: The side of the images in pixels.
        accelerator: Whether the machine has an accelerator.
    """
    if "model" in begun:
        return ModelChoice(begun["model"], begun["pretrained"], "as the run was begun")
    pretrained = arguments.pretrained
    head = arguments.train == "head" or METHODS.get(arguments.method, Method).learns_at_once
    if pretrained is None and head and arguments.model not in BACKBONES:
        pretrained = True  # The head is trained on features of published weights, however small the images are.
    return choose_model(image_size, model=arguments.model, pretrained=pretrained, accelerator=accelerator)


def choose_training(
    train: str,
    model: ModelChoice,
    method: type[Method],
    *,
    budget: bool = False,
    epochs: bool = False,
    augmentation: str = "none",
) -> str:
    """Return what is trained: "head", "all", or "auto" for the head and then all weights, of which the better is kept.

    Args:
        train: What a person asked for: "head", "all" or "auto".
        model: The network and its initial weights.
        method: The method.
        budget: Whether the training has a budget of time.
        epochs: Whether a number of epochs was asked for.
        augmentation: The name of the augmentation. One that works inside the network needs all weights trained.

    Raises:
        ValueError: If the head alone cannot be trained, or if it is all that can be trained and more was asked for.
    """
    if method.learns_at_once:
        if not model.pretrained:
            raise ValueError(
                f"{method.name} is computed from features of published weights, and {model.model} starts from "
                f"{model.why}. Take another method, or bring weights: {EXTRA}"
            )
        if train == "all" or budget or epochs:
            method.check_loss()
        return "head"
    if train == "head" and not model.pretrained:
        raise ValueError(
            f"--train head trains on features of published weights, and {model.model} starts from {model.why}. "
            f"Take --train all, or bring weights: {EXTRA}"
        )
    if train == "head" and not method.on_pooled_features:
        able = ", ".join(name for name, of in METHODS.items() if of.on_pooled_features)
        raise ValueError(
            f"{method.name} learns from more than pooled features, so its head cannot be trained alone. "
            f"Take --train all, or one of the methods {able}"
        )
    inside = [p for p in augmentation.split("+") if getattr(AUGMENTATIONS.get(p), "inside_network", False)]
    if train == "head" and inside:
        raise ValueError(
            f"augmentation {inside[0]} changes feature maps inside the network, so a head that is trained alone learns "
            "nothing from it. Take --train all, or another augmentation"
        )
    if train != "auto" or not model.pretrained or not method.on_pooled_features or epochs or inside:
        return "head" if train == "head" else "all"
    return "auto" if budget else "head"


def published_size(name: str) -> int | None:
    """Return the side of the images in pixels that the published weights of a timm model were trained for.

    Args:
        name: The name of the model in timm, with or without "timm/" before it.

    Returns:
        The side; the smaller one if the images were not square. None if timm does not know the model.
    """
    if package := package_of(name):
        return package.image_size
    config = _timm_config(name)
    return None if config is None else min(config.input_size[-2:])


def _command_for(name: str) -> str:
    """Return the end of a sentence that says which command brings the weights of a network, or those of another."""
    if package := package_of(name):
        return f"{package.command} brings them"
    return f"{EXTRA} brings those of {PUBLISHED['cpu'][0]}"


def _timm_config(name: str) -> Any:
    """Return what timm knows of the published weights of a model; None if it does not know the model."""
    import timm

    try:
        return timm.get_pretrained_cfg(name.removeprefix("timm/"), allow_unregistered=False)
    except RuntimeError:
        return None


def weights_at_hand(name: str, *, timeout: float = 5.0) -> tuple[bool, str]:
    """Return whether the published weights of a timm model are available, and the end of a sentence that explains it.

    Args:
        name: The name of the model in timm, with or without "timm/" before it.
        timeout: The seconds to wait for the hub, if the weights are not in the cache.

    Returns:
        Whether they are available, and where they are or why they are not available.

    Raises:
        FileNotFoundError: If a package with the weights is installed without its file.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    config = _timm_config(name)
    if config is None:  # The code that builds the model raises the error about the name.
        return False, "are not there: timm has no such model"
    if in_hub_cache(name):
        return True, "in the cache"
    package = package_of(name)
    if package is not None and installed_weights(name) is not None:
        return True, f"of the package {package.package}"
    repository = getattr(config, "hf_hub_id", None)
    if not repository:
        return False, "are not there: timm names none"
    absent = "are not in the cache" if package is None else "are neither in the cache nor in an installed package"
    if constants.HF_HUB_OFFLINE:
        return False, f"{absent}, and HF_HUB_OFFLINE forbids to fetch them"
    try:
        get_hf_file_metadata(hf_hub_url(repository, "model.safetensors"), timeout=timeout)
    except Exception as error:  # After any error of the network or its client, there are no weights.
        return False, f"{absent} and cannot be fetched ({in_one_line(error)[:120]})"
    return True, "fetched from the hub"
