"""A detector by name, made ready for one network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from backmix.detectors import DETECTORS, METHOD, Detector, check_name
from backmix.detectors.training_outputs import TrainingOutputs

if TYPE_CHECKING:
    from backmix.data.preprocess import Preprocess
    from backmix.methods.network import Network


def ready_detector(
    name: str, network: Network, preprocess: Preprocess, training: Callable[[], TrainingOutputs | None] | None
) -> Detector:
    """Make a detector, attach it to a network and fit it where it needs that.

    Args:
        name: key of `DETECTORS`.
        network: left in the mode it is in.
        preprocess: how its images are normalised.
        training: what to fit on, asked for where it is needed; None: leave it unfitted.

    Raises:
        ValueError: for a name that is not there, or a detector that this network or these images do not allow.
    """
    check_name(name)
    detector = DETECTORS[name]()
    training_mode = network.training
    network.eval()
    try:
        detector.attach(network.head, network.backbone, preprocess)
    finally:
        network.train(training_mode)
    if training is not None and detector.needs_fitting:
        outputs = training()
        if outputs is None:
            others = ", ".join((METHOD, "msp", "max_logit", "energy"))
            raise ValueError(
                f"{name} is fitted on training images, of which nothing was kept: the run comes from an earlier "
                f"version, or was not made by fit. Train again, or take one of {others}."
            )
        detector.fit_kept(outputs)
    return detector
