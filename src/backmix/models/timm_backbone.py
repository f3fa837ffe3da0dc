"""Backbones from timm: any model, convolutional or transformer, as a network with a feature map.

The feature map is the result of timm's `forward_features`, laid out as ``(B, C, h, w)``: channels-last maps are
permuted, patch tokens go back to their place in the image, and class, distillation and register tokens are dropped.
Layers of a timm model after the pooling (ConvNeXt's last norm, MobileNetV3's last convolution) are not included.

timm is imported when a model is built, not with this module.
"""

from __future__ import annotations

import difflib
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from backmix.models.backbone import Backbone, ImageSize
from backmix.models.own import BACKBONES
from backmix.models.published import in_hub_cache, installed_weights, load_package_weights, package_of
from backmix.models.timm_layout import as_map

_NAMING = (
    "timm names are lower case with underscores, an optional weights tag after a dot and an optional 'timm/' before "
    "them, as in 'resnet18', 'convnext_atto.d2_in1k', 'timm/vit_small_patch14_dinov2'"
)


class TimmBackbone(Backbone):
    """A timm model as a `Backbone`. Build it with `create_timm_backbone`.

    Attributes:
        model: The timm model, without the parts that its feature map does not depend on.
        fixed_size: The only image size that it takes, (height, width) in pixels. None: it takes any size.
        weights_from: Where the published weights came from, in words. None: the weights are random.
        architecture: The name by which timm builds the network without asking another place.
        architecture_options: The options that go with it, where another place ("hf-hub:", "local-dir:") named them.

    Raises:
        ValueError: On a call, if the images do not have the fixed size, or if the features are no map.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        *,
        in_channels: int = 3,
        probe_size: tuple[int, int],
        fixed_size: tuple[int, int] | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        weights_from: str | None = None,
        architecture: tuple[str, dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(name, 0, in_channels=in_channels, mean=mean, std=std)
        self.model = model
        self.fixed_size = fixed_size
        self.weights_from = weights_from
        self.architecture, self.architecture_options = architecture or (name, {})
        self.num_features = self._try_out(probe_size)

    def stages_inside(self) -> list[nn.Module]:
        """Return the modules in timm's `feature_info` that the model still has; in transformers, the blocks."""
        parts = dict(self.model.named_modules())
        info = getattr(self.model, "feature_info", None) or []
        names = [entry["module"] for entry in info if isinstance(entry, dict) and "module" in entry]
        return [parts[name] for name in names if name in parts]

    def feature_map(self, images: Tensor) -> Tensor:
        """Compute the feature map: ``(B, in_channels, H, W)`` to ``(B, C, h, w)``.

        Tokens and channels-last maps are viewed, not copied.
        """
        height, width = images.shape[-2:]
        if self.fixed_size is not None and (height, width) != self.fixed_size:
            raise ValueError(
                f"{self.name} was built for images of {self.fixed_size[0]}x{self.fixed_size[1]}, got {height}x{width}: "
                "resize them, or build it with image_size set to what you have"
            )
        features = self.model.forward_features(images)  # type: ignore[operator]
        return as_map(self.name, self.model, features, (height, width))

    def _try_out(self, size: tuple[int, int]) -> int:
        """Run the model on one blank image, drop unused parts, and return the number of channels of the map."""
        device = next(self.model.parameters()).device
        training = self.model.training
        self.model.eval()
        try:
            features = self.feature_map(torch.zeros(1, self.in_channels, *size, device=device))
        except (RuntimeError, AssertionError) as error:
            raise ValueError(_refused_size(self.name, size, error)) from error
        _drop_unused(self.model, features)
        self.model.train(training)
        return features.shape[1]


def create_timm_backbone(
    name: str,
    *,
    image_size: ImageSize | None = None,
    pretrained: bool = False,
    cache_dir: str | Path | None = None,
    in_channels: int = 3,
    **options: Any,
) -> TimmBackbone:
    """Build a timm model as a backbone.

    Args:
        name: The name in timm, with or without "timm/" before it and a weights tag (".a1_in1k") after it.
        image_size: The side, or (height, width), of the images in pixels, for models that are built for one size.
            None: the model's own size, usually 224.
        pretrained: Whether to load the published weights: from the cache, else from an installed package (see
            `backmix.models.published`), else from the network. Without a network, the client of the hub tries for about
            a minute; the environment variable HF_HUB_OFFLINE=1 prevents this.
        cache_dir: The folder of the weights, in the layout of the Hugging Face hub. None: the hub's own folder.
        in_channels: The number of channels of the images.
        options: Further options of `timm.create_model`, such as ``drop_path_rate``.

    Raises:
        ValueError: If timm does not have the model or its weights, if the model cannot take the size, if its
            features are no map (pit: the class token alone; coat, crossvit and efficientvim: several scales at once),
            or if the file of an installed package is another version or was altered.
        OSError: If the pretrained weights are not in the cache or a package and cannot be downloaded, or if a package
            is installed without its file.
        ImportError: If timm is not installed.
    """
    timm = _import_timm()
    timm_name = name.removeprefix("timm/")
    _check_name(timm, timm_name, pretrained)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    weights_from, from_package = _find_weights(timm_name, cache_dir, options) if pretrained else (None, False)
    arguments = {
        "pretrained": pretrained and not from_package,
        "cache_dir": cache_dir,
        "in_chans": in_channels,
        "num_classes": 0,
        **options,
    }

    # Weights made in inference mode could never be trained, and `TimmBackbone` needs gradients to find unused parts.
    with torch.inference_mode(False), torch.enable_grad():
        try:
            model = _create_model(timm, timm_name, size, arguments)
        except Exception as error:
            if _is_missing_file(error) and not timm_name.startswith("local-dir:"):
                raise OSError(_missing_weights(timm_name, cache_dir, error)) from error
            if size is not None and isinstance(error, AssertionError | ZeroDivisionError):
                raise ValueError(_refused_size(timm_name, size, error)) from error
            raise
        config: dict[str, Any] = dict(model.pretrained_cfg)  # type: ignore[arg-type]
        if from_package and (package := package_of(timm_name)):
            load_package_weights(timm_name, model)
            config.update(mean=package.mean, std=package.std, input_size=(3, package.image_size, package.image_size))
        own_size: tuple[int, int] = tuple(config["input_size"][-2:])
        fixed = (
            config.get("fixed_input_size", False)
            and options.get("strict_img_size", True)
            and not options.get("dynamic_img_size", False)
        )
        published = pretrained and in_channels == len(config["mean"])
        backbone = TimmBackbone(
            timm_name,
            model,
            in_channels=in_channels,
            probe_size=size or own_size,
            fixed_size=(size or own_size) if fixed else None,
            mean=tuple(config["mean"]) if published else None,
            std=tuple(config["std"]) if published else None,
            weights_from=weights_from,
            architecture=_defined_elsewhere(timm_name, cache_dir) if ":" in timm_name else None,
        )
    _warn_of_cut_pixels(timm_name, model, size or own_size)
    return backbone


def _import_timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise ImportError("this model comes from timm, which is not installed: pip install timm") from error
    return timm


def _check_name(timm: ModuleType, name: str, pretrained: bool) -> None:
    if ":" in name:  # For "hf-hub:owner/model" and "local-dir:path" timm reads the name of the model from there.
        return
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        own = ", ".join(BACKBONES)
        close = difflib.get_close_matches(name.lower(), [*BACKBONES, *timm.list_models()], n=5, cutoff=0.5)
        raise ValueError(
            f"no model is called {name!r}; close names: {', '.join(close) or 'none'}; own models: {own}; {_NAMING}"
        )
    tags = [
        full.partition(".")[2]
        for full in timm.list_pretrained(architecture + "*")
        if full.partition(".")[0] == architecture
    ]
    if tag and tag not in tags:
        raise ValueError(f"timm has no weights tagged {tag!r} for {architecture}; it has: {', '.join(tags) or 'none'}")
    if pretrained and not tags:
        raise ValueError(f"timm publishes no weights for {architecture}: use pretrained=False or another model")


def _find_weights(name: str, cache_dir: str | Path | None, options: dict[str, Any]) -> tuple[str, bool]:
    """Return where the published weights come from, in words, and whether that is an installed package."""
    named = any(option.startswith(("pretrained", "checkpoint")) for option in options)
    if named or ":" in name:  # The caller says where timm finds the weights.
        return ("the given place" if named else name), False
    if in_hub_cache(name, cache_dir):
        return "the cache of the hub", False
    package = package_of(name)
    if package is not None and installed_weights(name) is not None:
        return f"the package {package.package}", True
    return "the hub", False


def _create_model(timm: ModuleType, name: str, size: tuple[int, int] | None, arguments: dict[str, Any]) -> nn.Module:
    model: nn.Module
    if size is not None:
        try:
            model = timm.create_model(name, img_size=size, **arguments)
            return model
        except TypeError as error:
            if "img_size" not in str(error):
                raise
    model = timm.create_model(name, **arguments)  # A network that takes any size has no `img_size`.
    return model


def _defined_elsewhere(name: str, cache_dir: str | Path | None) -> tuple[str, dict[str, Any]]:
    """Return the architecture and its options that a place of timm names, which has just been fetched."""
    from timm.models import _hub

    place, _, where = name.partition(":")
    if place == "local-dir":
        _, architecture, options = _hub.load_model_config_from_path(where)
    else:
        _, architecture, options = _hub.load_model_config_from_hf(where, cache_dir=cache_dir)
    return str(architecture), dict(options or {})


def _refused_size(name: str, size: tuple[int, int], error: Exception) -> str:
    return (
        f"{name} cannot take images of {size[0]}x{size[1]} ({_first_line(error)}): "
        "give another image_size, or leave it out for the model's own"
    )


def _is_missing_file(error: Exception) -> bool:
    network = {"httpx", "huggingface_hub", "requests", "urllib3"}
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in network


def _missing_weights(name: str, cache_dir: str | Path | None, error: Exception) -> str:
    place = "the default cache" if cache_dir is None else f"cache_dir={str(cache_dir)!r}"
    found = f"the weights of {name!r} are not in {place} and could not be downloaded ({_first_line(error)}). "
    if package := package_of(name):
        return f"{found}One command brings them: {package.command}. Or start from random weights with pretrained=False"
    return (
        f"{found}Start from random weights with pretrained=False; or, where there is a network, run "
        f"create_backbone({name!r}, pretrained=True, cache_dir=FOLDER), copy FOLDER here and pass it as cache_dir"
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _drop_unused(model: nn.Module, features: Tensor) -> None:
    """Remove the children that the map does not depend on, and freeze other parameters that it does not depend on.

    The classifier layers of VGG would be a hundred million useless weights, and processes that train together wait for
    the gradient of every parameter that requires one.
    """
    reached = _reached_parameters(features)
    for name, child in model.named_children():
        parameters = list(child.parameters())
        if parameters and all(p.requires_grad and id(p) not in reached for p in parameters):
            setattr(model, name, nn.Identity())
    for parameter in model.parameters():
        if id(parameter) not in reached:
            parameter.requires_grad_(False)


def _reached_parameters(features: Tensor) -> set[int]:
    """Return the ids of the parameters that a tensor depends on, by a walk over its graph, without gradients."""
    reached: set[int] = set()
    seen: set[Any] = set()
    waiting: list[Any] = [features.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            reached.add(id(node.variable))
        waiting += [parent for parent, _ in node.next_functions]
    return reached


def _warn_of_cut_pixels(name: str, model: nn.Module, size: tuple[int, int]) -> None:
    embed = getattr(model, "patch_embed", None)
    patch = getattr(embed, "patch_size", None)
    if not isinstance(patch, tuple) or getattr(embed, "dynamic_img_pad", False):
        return
    rest = (size[0] % patch[0], size[1] % patch[1])
    if any(rest):
        warnings.warn(
            f"{name} cuts images of {size[0]}x{size[1]} into patches of {patch[0]}x{patch[1]} and does not see the "
            f"last {rest[0]} rows and {rest[1]} columns: choose an image_size that the patch divides",
            stacklevel=4,
        )
