"""Detectors of pytorch-ood that run the network on images again, most of them for a gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from backmix.detectors.pytorch_ood import PytorchOOD, Whitening

if TYPE_CHECKING:
    from backmix.data.preprocess import Preprocess
    from backmix.methods import Method


class PytorchOODOnImages(PytorchOOD):
    """A detector of pytorch-ood that looks at images; it runs in float32 on the device of the network.

    `odin` and `mahalanobis_odin` step once against the sign of a gradient at the image, divided by the standard
    deviations of the normalisation. `rankfeat` changes the feature map. `mcd` switches `nn.Dropout` and its likes on,
    with masks that all images share and that are the same for each call, see `shared_dropout`; all else stays in
    evaluation mode.

    Args:
        name: key of `WRAPPED`.
        options: of pytorch-ood's class, see docs/detectors.md.

    Raises:
        ValueError: for options that the class does not take.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.network: NetworkPart | None = None

    def attach(self, method: Method, backbone: nn.Module, preprocess: Preprocess) -> None:
        """Take the network and its normalisation, and try them on one image.

        Raises:
            ValueError: for a network without dropout where that is looked at, one that gives no gradient, or one
                whose pooled features are no mean of the feature map where they need a gradient.
        """
        options, std = {**self.spec.defaults, **self.options}, list(preprocess.std)
        trial = torch.zeros(1, 3, preprocess.image_size, preprocess.image_size).to(next(backbone.parameters()))
        with self._named_errors():
            if self.name == "rankfeat":
                # pytorch-ood reshapes the map, which memory with channels last does not allow.
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
        """Learn from the pooled features (N, C) of known training images and their labels (N,) int64."""
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

    def __call__(self, logits: Tensor, features: Tensor) -> Tensor:
        """Not from outputs; see `score_images`."""
        raise ValueError(f"{self.name} looks at images; call score_images")

    def score_images(self, images: Tensor) -> Tensor:
        """Unknown scores (B,), higher = more unknown, of normalised images (B, 3, H, W).

        Raises:
            ValueError: before `attach`, before `fit` where it needs fitting, or whatever pytorch-ood cannot score.
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
    """The backbone and what is taken of its map, in float32; holds the method so that its device is known."""

    def __init__(self, method: Method, backbone: nn.Module, then: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.backbone = backbone
        self.method = method
        self.then = then
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """What is taken of the map of images (B, 3, H, W)."""
        return self.then(self.backbone(images).float())


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """In evaluation mode, and without gradients of parameters, which nobody here asks for."""
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
    """Modules that drop something."""
    return [module for module in network.modules() if isinstance(module, Dropout) and module.p > 0]


@contextmanager
def shared_dropout(network: nn.Module, seed: int = 0) -> Iterator[None]:
    """Dropout in a network in evaluation mode, with masks that all images of a batch share.

    An image's answers then depend neither on its place in the batch nor on the batch, and torch's own random numbers
    are left alone. Each forward pass draws new masks; what is kept is divided by 1 - p. `nn.Dropout` drops single
    numbers, the others whole channels.

    Args:
        network: told to be in training mode, which its parts are not: that keeps pytorch-ood from switching them.
        seed: of the masks, anew each time this is entered.
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
