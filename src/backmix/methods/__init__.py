"""The methods: training objectives, each with its logits, its unknown score and its evidence map.

A method is a subclass of `Method` that is made from (num_features, num_classes, **options). To add a method, write a
file for it and add its name to `METHODS`.
"""

from __future__ import annotations

from backmix.methods.arpl import ARPL
from backmix.methods.arpl_cs import ARPLCS
from backmix.methods.base import Method, Response, TrainingBatch
from backmix.methods.cac import CAC
from backmix.methods.conosr import ConOSR
from backmix.methods.cssr import PCSSR, RCSSR
from backmix.methods.entropic import Entropic
from backmix.methods.gcpl import GCPL
from backmix.methods.k_nearest import KNearest
from backmix.methods.mahalanobis import Mahalanobis
from backmix.methods.nearest_mean import NearestMean
from backmix.methods.negcossch import NegCosSch
from backmix.methods.objectosphere import Objectosphere
from backmix.methods.outlier_exposure import OutlierExposure
from backmix.methods.proser import PROSER
from backmix.methods.rotation import Rotation
from backmix.methods.rpl import RPL
from backmix.methods.softmax import Softmax

METHODS: dict[str, type[Method]] = {
    "softmax": Softmax,
    "gcpl": GCPL,
    "rpl": RPL,
    "arpl": ARPL,
    "arpl-cs": ARPLCS,
    "cac": CAC,
    "pcssr": PCSSR,
    "rcssr": RCSSR,
    "proser": PROSER,
    "conosr": ConOSR,
    "negcossch": NegCosSch,
    "entropic": Entropic,
    "objectosphere": Objectosphere,
    "outlier-exposure": OutlierExposure,
    "rotation": Rotation,
    "nearest-mean": NearestMean,
    "knn": KNearest,
    "mahalanobis": Mahalanobis,
}

__all__ = [
    "ARPL",
    "ARPLCS",
    "CAC",
    "GCPL",
    "METHODS",
    "PCSSR",
    "PROSER",
    "RCSSR",
    "RPL",
    "ConOSR",
    "Entropic",
    "KNearest",
    "Mahalanobis",
    "Method",
    "NearestMean",
    "NegCosSch",
    "Objectosphere",
    "OutlierExposure",
    "Response",
    "Rotation",
    "Softmax",
    "TrainingBatch",
]
