"""Detectors of pytorch-ood that run the network on the images again, most of them for a gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from backmix.detectors.pytorch_ood import PytorchOOD
from backmix.detectors.whitening import Whitening

if TYPE_CHECKING:
    from backmix.data.preprocess import Preprocess
    from backmix.methods import Method


class PytorchOODOnImages(PytorchOOD):
    """A detector of pytorch-ood that takes images. It runs in float32 on the device of the network.

    `odin` and `mahalanobis_odin` make one step against the sign of a gradient at the image, divided by the standard
    deviations of the normalisation. `rankfeat` changes the feature map. `mcd` turns on `nn.Dropout` and its variants,
    with masks that all images share and that are the same in each call, see `shared_dropout`; all other modules stay in
    evaluation mode.

    Args:
        name: The name of the detector, a key of `WRAPPED`.
        options: The options of pytorch-ood's class, see docs/detectors.md.

    Raises:
        ValueError: If pytorch-ood is not installed; the message says how to install it.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.network: NetworkPart | None = None

    def attach(self, method: Method, backbone: nn.Module, preprocess: Preprocess) -> None:
        """Take the network and its normalisation, and test them on one image.

        Raises:
            ValueError: If the detector needs dropout and the network has none, the detector needs a gradient and the
                network gives none, the detector needs the mean of the feature map and the method pools it in another
                way, or the class does not accept the options.
        """
        options, std = {**self.spec.defaults, **self.options}, list(preprocess.std)
        trial = torch.zeros(1, 3, preprocess.image_size, preprocess.image_size).to(next(backbone.parameters()))
        with self._named_errors():
            if self.name == "rankfeat":
                # pytorch-ood reshapes the map, which is not possible if the memory has channels last.
                self.network = NetworkPart(method, backbone, lambda maps: maps.contiguous())
                self.inner = self.cls(self.network, method.logits, **options)
            elif self.name == "mahalanobis_odin":
                self._check_pooled(method, backbone, trial)
                self.network = NetworkPart(method, backbone, self._whitened)
                self.inner = self.cls(self.network, **{"norm_std": std, **options})
            else:
                self.network = NetworkPart(method, backbone, method.logits)
                if self.name == "odin":
                    options = {"norm_std": std, **options}
                elif not dropouts_of(self.network):
                    raise ValueError("looks at how dropout changes the answers, and this network has none")
                self.inner = self.cls(self.network, **options)
        if not self.needs_fitting:
            self.score_images(trial)

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Fit the detector on the pooled features (N, C) of known training images and their labels (N,) int64.

        Raises:
            ValueError: If `attach` was not called, a class has no image, or pytorch-ood cannot be fitted on the inputs.
        """
        if not self.needs_fitting:
            return
        if self.network is None:
            raise ValueError(f"{self.name}: attach it to a network first")
        features, labels = self._plain(features), labels.cpu().clone()
        self._check_classes(labels, logits.shape[1])
        with self._named_errors():
            self.white = Whitening(features, labels)
            device = next(self.network.parameters()).device
            self.inner.fit_features(self.white(features).to(device), labels.to(device))
        self.caution = self.spec.caution(self.name, len(labels), logits.shape[1], features.shape[1])

    def __call__(self, logits: Tensor, features: Tensor) -> Tensor:
        """Raise ValueError, because the detector needs images; see `score_images`."""
        raise ValueError(f"{self.name} looks at images; call score_images")

    def score_images(self, images: Tensor) -> Tensor:
        """Return the unknown scores (B,), higher = more unknown, of normalised images (B, 3, H, W).

        Raises:
            ValueError: If `attach` was not called, the detector needs fitting and `fit` was not called, or pytorch-ood
                cannot score the images.
        """
        if self.network is None or not self._is_fitted():
            missing = "attach it to a network" if self.network is None else "fit it on training images"
            raise ValueError(f"{self.name}: {missing} first")
        if not len(images):
            return torch.zeros(0, device=images.device)
        dropout = shared_dropout(self.network) if self.name == "mcd" else nullcontext()
        with self._named_errors(), torch.inference_mode(False), frozen(self.network), dropout:
            scores = self._score_images(images.clone().float())
        return scores.detach()

    def _is_fitted(self) -> bool:
        return not self.needs_fitting or self.white is not None

    def _score_images(self, images: Tensor) -> Tensor:
        scores: Tensor = self.inner.predict(images)
        return scores

    def _whitened(self, maps: Tensor) -> Tensor:
        pooled = maps.float().mean((2, 3))
        return pooled if self.white is None else self.white(pooled)

    def _check_pooled(self, method: Method, backbone: nn.Module, trial: Tensor) -> None:
        with torch.no_grad():
            maps = backbone(trial).float()
            pooled = method.pooled(maps)
        if not torch.allclose(pooled, maps.mean((2, 3)), atol=1e-5):
            raise ValueError("looks at the mean of the feature map, and this method pools it in another way")


class NetworkPart(nn.Module):
    """The backbone followed by a function of its feature map, in float32.

    It contains the method, so that the device of the method is known.

    Args:
        method: The method.
        backbone: Normalised images (B, 3, H, W) -> feature map (B, C, h, w).
        then: The function of the feature map.
    """

    def __init__(self, method: Method, backbone: nn.Module, then: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.backbone = backbone
        self.method = method
        self.then = then
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the function of the feature map of images (B, 3, H, W)."""
        return self.then(self.backbone(images).float())


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode, and turn off the gradients of its parameters within the block."""
    network.eval()
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


Dropout = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d


def dropouts_of(network: nn.Module) -> list[Dropout]:
    """Return the dropout modules of a network whose probability is above 0."""
    return [module for module in network.modules() if isinstance(module, Dropout) and module.p > 0]


@contextmanager
def shared_dropout(network: nn.Module, seed: int = 0) -> Iterator[None]:
    """Turn on dropout in a network in evaluation mode, with masks that all images of a batch share.

    The answers for an image then depend neither on its place in the batch nor on the other images, and the global
    random numbers of torch are not used. Each forward pass draws new masks, and the kept values are divided by 1 - p.
    `nn.Dropout` drops single numbers, the other modules drop whole channels.

    Args:
        network: The network. Within the block it is marked as in training mode, but its submodules are not, so that
            pytorch-ood does not switch them.
        seed: The seed of the masks, used again at the start of each block.
    """
    generator = torch.Generator().manual_seed(seed)

    def hook(dropout: Dropout) -> Any:
        keep = 1 - dropout.p

        def drop(module: nn.Module, _: Any, output: Tensor) -> Tensor:
            own = output.ndim if isinstance(dropout, nn.Dropout) else 2
            shape = (1, *output.shape[1:own], *(1,) * (output.ndim - own))
            mask = torch.empty(shape).bernoulli_(keep, generator=generator).div_(keep or 1)
            return output * mask.to(output)

        return drop

    handles = [dropout.register_forward_hook(hook(dropout)) for dropout in dropouts_of(network)]
    network.training = True
    try:
        yield
    finally:
        network.training = False
        for handle in handles:
            handle.remove()
