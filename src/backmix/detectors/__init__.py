"""Post-hoc unknown scores on a trained network, by name.

A detector is made with its own options, is fitted once if it needs fitting, and is then called:
`DETECTORS["msp"]()(logits, features)`. To add a detector, write a file for it and add its name to `DETECTORS`. The
names in `WRAPPED` are detectors of pytorch-ood, which is imported only when one of them is made; those in `REWRITTEN`
have the scores of pytorch-ood and are computed here. `METHOD` stands for the score of the trained method itself: the
method returns it together with the logits, and no detector is made. Two names of `OURS` with a "+" between them name
their combination, see `Combined`; `make_detector` knows all names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from backmix.detectors.base import Detector
from backmix.detectors.combined import JOIN, Combined
from backmix.detectors.cosine_knn import CosineKNN
from backmix.detectors.cosine_mean import CosineMean
from backmix.detectors.energy import Energy
from backmix.detectors.knn import KNN
from backmix.detectors.mahalanobis import Mahalanobis
from backmix.detectors.max_logit import MaxLogit
from backmix.detectors.msp import MSP
from backmix.detectors.openmax import OpenMax
from backmix.detectors.pytorch_ood import PytorchOOD
from backmix.detectors.pytorch_ood_images import PytorchOODOnImages
from backmix.detectors.pytorch_ood_stages import PytorchOODOnStages
from backmix.detectors.relative_mahalanobis import RelativeMahalanobis
from backmix.detectors.shrunk_mahalanobis import ShrunkMahalanobis
from backmix.detectors.vim import ViM
from backmix.detectors.wrapped import WRAPPED, Looks

METHOD = "method"

OURS: dict[str, Callable[..., Detector]] = {
    "msp": MSP,
    "max_logit": MaxLogit,
    "energy": Energy,
    "openmax": OpenMax,
    "cosine_mean": CosineMean,
    "cosine_knn": CosineKNN,
    "shrunk_mahalanobis": ShrunkMahalanobis,
}

REWRITTEN: dict[str, Callable[..., Detector]] = {
    "knn": KNN,
    "mahalanobis": Mahalanobis,
    "rmd": RelativeMahalanobis,
    "vim": ViM,
}
"""Names of `WRAPPED` whose scores are computed here, faster and in float64; `PytorchOOD(name)` is pytorch-ood's own."""


def _adapter(looks: Looks) -> type[PytorchOOD]:
    if looks is Looks.IMAGE_STAGES:
        return PytorchOODOnStages
    return PytorchOODOnImages if looks.needs_images else PytorchOOD


DETECTORS: dict[str, Callable[..., Detector]] = {
    **OURS,
    **{name: REWRITTEN.get(name) or partial(_adapter(spec.looks), name) for name, spec in WRAPPED.items()},
}


def default_detector(method: str) -> str:
    """Return the unknown score that decides if none is chosen: of softmax the largest logit, else the method's own."""
    return "max_logit" if method == "softmax" else METHOD


def check_name(name: str) -> None:
    """Raise ValueError, with a list of all names, unless `name` is `METHOD` or the name of a detector.

    Two different names of `OURS` joined by "+" are a name too, see `Combined`.
    """
    if name == METHOD or name in DETECTORS:
        return
    members = name.split(JOIN)
    if len(members) == 2 and set(members) <= set(OURS):
        if members[0] != members[1]:
            return
        raise ValueError(f"{name} combines a detector with itself; name {members[0]}, or another one beside it")
    raise ValueError(
        f"no detector {name!r}; there are {', '.join((METHOD, *DETECTORS))}; and two of {', '.join(OURS)} with a "
        f"{JOIN} between them"
    )


def make_detector(name: str) -> Detector:
    """Make the detector of a name with its default options. `METHOD` is none.

    Raises:
        ValueError: If no detector has this name, or the package that it comes from is missing.
    """
    check_name(name)
    if name == METHOD:
        raise ValueError(f"{METHOD} is the method's own score, for which no detector is made")
    return DETECTORS[name]() if name in DETECTORS else Combined({part: OURS[part]() for part in name.split(JOIN)})


__all__ = [
    "DETECTORS",
    "KNN",
    "METHOD",
    "MSP",
    "OURS",
    "REWRITTEN",
    "WRAPPED",
    "Combined",
    "CosineKNN",
    "CosineMean",
    "Detector",
    "Energy",
    "Mahalanobis",
    "MaxLogit",
    "OpenMax",
    "PytorchOOD",
    "PytorchOODOnImages",
    "PytorchOODOnStages",
    "RelativeMahalanobis",
    "ShrunkMahalanobis",
    "ViM",
    "check_name",
    "default_detector",
    "make_detector",
]
