"""The detectors of pytorch-ood that can be used here, with their names and inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from torch import Tensor


class Looks(Enum):
    """The inputs of a detector. The value is the text that the documentation and errors show."""

    LOGITS = "logits"
    FEATURES = "pooled features"
    WEIGHTS = "pooled features, weight and bias of the linear head"
    HEAD = "pooled features and the linear head"
    SHAPED = "pooled features, changed before the linear head"
    GRADIENT = "gradients at the linear head"
    COVERAGE = "gradients at the pooled features, through the linear head"
    IMAGES = "images, logits"
    IMAGE_FEATURES = "images, pooled features"
    IMAGE_MAPS = "images, feature map"
    IMAGE_STAGES = "images, means of the maps inside the network, pooled features"

    @property
    def needs_head(self) -> bool:
        """Whether the method must have a linear head on pooled features."""
        return self in (Looks.WEIGHTS, Looks.HEAD, Looks.SHAPED, Looks.GRADIENT, Looks.COVERAGE)

    @property
    def needs_images(self) -> bool:
        """Whether the network must run on the images again, because its kept outputs are not enough."""
        return self in (Looks.IMAGES, Looks.IMAGE_FEATURES, Looks.IMAGE_MAPS, Looks.IMAGE_STAGES)


@dataclass(frozen=True)
class Wrapped:
    """A detector of pytorch-ood.

    Attributes:
        cls: The name of its class in `pytorch_ood.detector`.
        looks: The inputs of the detector.
        defaults: Options that pytorch-ood requires, or whose defaults differ here.
        fitted: A function that returns options from the training features (N, C) and labels (N,). Given options replace
            them.
        whiten: Whether the detector gets features whose covariance is the identity. This is for detectors that invert
            covariances, in float32 or after adding a constant that is small only for features of size 1.
        images_per_feature: The least number of training images, less one for each class, that the detector takes for
            each feature; 0: any number is enough. See `caution`.
    """

    cls: str
    looks: Looks
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fitted: Callable[[Tensor, Tensor], dict[str, Any]] | None = None
    whiten: bool = False
    images_per_feature: int = 0

    def caution(self, name: str, images: int, classes: int, features: int) -> str:
        """Return a sentence if the training images are too few for the statistics of the detector, or "".

        The covariance within K classes of N images has N - K degrees of freedom. With fewer than C, the number of
        features, it has no inverse, and the pseudo-inverse ignores every direction in which the training images do not
        vary. From C on it has one, but for n = N - K Gaussian deviations the inverse is n / (n - C - 1) times too
        large in expectation: without bound near n = C, twice at n = 2 C.

        Args:
            name: The name of the detector.
            images: The number N of training images.
            classes: The number K of classes.
            features: The number C of features; of several layers, the largest.
        """
        least = classes + self.images_per_feature * features
        if not self.images_per_feature or images >= least:
            return ""
        what = "the inverse of a covariance" if self.whiten else "a principal subspace"
        return (
            f"{name}: {images:,} training images for {features:,} features: too few for {what}, which takes {least:,} "
            "or more; take shrunk_mahalanobis"
        )


def _neighbours(features: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return k = 50 neighbours, as in the paper on CIFAR-10, but at most the number of images of the smallest class."""
    return {"k": max(1, min(50, int(labels.bincount().min())))}


def _dimensions(features: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return d, half the dimensions that the features can span. The paper uses 1000 of 2048 and 512 of 768."""
    return {"d": max(1, min(features.shape) // 2)}


WRAPPED: dict[str, Wrapped] = {
    "entropy": Wrapped("Entropy", Looks.LOGITS),
    "gen": Wrapped("GEN", Looks.LOGITS),
    "kl_matching": Wrapped("KLMatching", Looks.LOGITS),
    "temperature_scaling": Wrapped("TemperatureScaling", Looks.LOGITS),
    "knn": Wrapped("KNN", Looks.FEATURES, fitted=_neighbours),
    "mahalanobis": Wrapped("Mahalanobis", Looks.FEATURES, whiten=True, images_per_feature=2),
    "rmd": Wrapped("RMD", Looks.FEATURES, whiten=True, images_per_feature=2),
    "gmm": Wrapped("GMM", Looks.FEATURES, whiten=True, images_per_feature=2),
    "vim": Wrapped("ViM", Looks.WEIGHTS, fitted=_dimensions, images_per_feature=1),
    # The paper leaves out this share of the weights on CIFAR.
    "dice": Wrapped("DICE", Looks.WEIGHTS, {"p": 0.9}),
    "nnguide": Wrapped("NNGuide", Looks.HEAD),
    "she": Wrapped("SHE", Looks.HEAD),
    "fdbd": Wrapped("fDBD", Looks.HEAD),
    "nci": Wrapped("NCI", Looks.HEAD),
    "pnml": Wrapped("PNML", Looks.HEAD),
    "lts": Wrapped("LTS", Looks.HEAD),
    "react": Wrapped("ReAct", Looks.SHAPED),
    "vra": Wrapped("VRA", Looks.SHAPED),
    "ash": Wrapped("ASH", Looks.SHAPED),
    "scale": Wrapped("SCALE", Looks.SHAPED),
    "gradnorm": Wrapped("GradNorm", Looks.GRADIENT),
    "grad_uncertainty": Wrapped("GradUncertainty", Looks.GRADIENT),
    "nac": Wrapped("NACUE", Looks.COVERAGE),
    "odin": Wrapped("ODIN", Looks.IMAGES),
    "mcd": Wrapped("MCD", Looks.IMAGES),
    "mahalanobis_odin": Wrapped("MahalanobisODIN", Looks.IMAGE_FEATURES, whiten=True, images_per_feature=2),
    "rankfeat": Wrapped("RankFeat", Looks.IMAGE_MAPS),
    "multi_mahalanobis": Wrapped("MultiMahalanobis", Looks.IMAGE_STAGES, whiten=True, images_per_feature=2),
}

LEFT_OUT: dict[str, str] = {
    "MaxSoftmax": "the same order as our msp, which does not round to ties",
    "MaxLogit": "our max_logit",
    "EnergyBased": "our energy",
    "OpenMax": "our openmax, which fits correctly classified images alone, as the paper does",
    "MCM": "needs embeddings of class names from a vision-language model",
    "WeightedEBO": "needs weights that only a training with VOS learns",
    "Gram": "learns bounds from whole maps of all training images; a run keeps the means of the maps alone",
}
"""The classes of pytorch-ood that have no name here, each with the reason."""
