"""Post-hoc unknown scores on a trained network, by name.

A detector is made with options of its own, fitted once and then called: `DETECTORS["msp"]()(logits, features)`. To
add one, write its file and name it in `DETECTORS`.
"""

from __future__ import annotations

from collections.abc import Callable

from backmix.detectors.base import Detector
from backmix.detectors.energy import Energy
from backmix.detectors.max_logit import MaxLogit
from backmix.detectors.msp import MSP

DETECTORS: dict[str, Callable[..., Detector]] = {"msp": MSP, "max_logit": MaxLogit, "energy": Energy}

__all__ = ["DETECTORS", "MSP", "Detector", "Energy", "MaxLogit"]
