"""The detector of pytorch-ood that uses the feature maps inside the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from backmix.detectors.pytorch_ood_images import NetworkPart, PytorchOODOnImages
from backmix.detectors.stages import stage_means
from backmix.detectors.whitening import Whitening

if TYPE_CHECKING:
    from backmix.data.preprocess import Preprocess
    from backmix.detectors.training_outputs import TrainingOutputs
    from backmix.methods import Method


class PytorchOODOnStages(PytorchOODOnImages):
    """`multi_mahalanobis`: Mahalanobis distances, summed over layers (Lee et al., NeurIPS 2018, without the step).

    The layers are the means of the maps inside the network, see `stage_means`, and the pooled features. Each layer is
    whitened.

    Args:
        name: The name of the detector, a key of `WRAPPED`.
        options: The options of pytorch-ood's class: `alpha`, a weight for each layer (default 1).

    Raises:
        ValueError: If pytorch-ood is not installed; the message says how to install it.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.whites: list[Whitening] = []

    def attach(self, method: Method, backbone: nn.Module, preprocess: Preprocess) -> None:
        """Take the network, and test it on one image.

        Raises:
            ValueError: If the network does not name any stages inside.
        """
        trial = torch.zeros(1, 3, preprocess.image_size, preprocess.image_size).to(next(backbone.parameters()))
        with self._named_errors(), torch.no_grad():
            if not stage_means(backbone, trial)[1]:
                name = getattr(backbone, "name", type(backbone).__name__)
                raise ValueError(
                    f"looks at the maps inside a network, and {name} does not tell of any. Take mahalanobis, which "
                    "looks at the pooled features alone."
                )
        self.network = NetworkPart(method, backbone, method.logits)

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Raise ValueError, because the pooled features are not enough; see `fit_layers`."""
        raise ValueError(f"{self.name} is fitted on several layers; call fit_layers")

    def fit_kept(self, kept: TrainingOutputs) -> None:
        """Fit the detector on the kept outputs of known training images.

        Raises:
            ValueError: If no means of maps were kept; the message says what to do.
        """
        if not kept.stages:
            raise ValueError(
                f"{self.name} is fitted on means of the maps inside the network, of which nothing was kept: only "
                "the head was trained, or the run comes from an earlier version, and `backmix fit ... --resume` on it "
                "keeps them. Take shrunk_mahalanobis, or train all weights."
            )
        self.fit_layers([*kept.stages, kept.features], kept.labels)

    def fit_layers(self, layers: Sequence[Tensor], labels: Tensor) -> None:
        """Fit the detector on known training images.

        Args:
            layers: The means (N, C_l) of each stage inside the network, and last the pooled features (N, C).
            labels: (N,) int64 label of each image.

        Raises:
            ValueError: If `attach` was not called, a class has no image, or a layer does not vary.
        """
        if self.network is None:
            raise ValueError(f"{self.name}: attach it to a network first")
        self._check_classes(labels, self.network.method.num_classes)
        device = next(self.network.parameters()).device
        with self._named_errors(), torch.inference_mode(False):
            plain, labels = [self._plain(layer) for layer in layers], labels.cpu().clone()
            whites = [Whitening(layer, labels) for layer in plain]
            white = [whiten(layer).to(device) for whiten, layer in zip(whites, plain, strict=True)]
            inner = self.cls([nn.Identity() for _ in layers], **{**self.spec.defaults, **self.options})
            self.inner = inner.fit_structured(white, labels.to(device))
            self.whites = whites
        widest = max(layer.shape[1] for layer in layers)
        self.caution = self.spec.caution(self.name, len(labels), self.network.method.num_classes, widest)

    def _is_fitted(self) -> bool:
        return bool(self.whites)

    @torch.no_grad()
    def _score_images(self, images: Tensor) -> Tensor:
        assert self.network is not None
        maps, stages = stage_means(self.network.backbone, images)
        layers = [*stages, self.network.method.pooled(maps)]
        white = [whiten(layer) for whiten, layer in zip(self.whites, layers, strict=True)]
        scores: Tensor = self.inner.predict_structured(white)
        return scores
