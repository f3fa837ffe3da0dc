"""Make a detector by name, ready for one network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from backmix.detectors import METHOD, Detector, make_detector
from backmix.detectors.training_outputs import TrainingOutputs

if TYPE_CHECKING:
    from backmix.data.preprocess import Preprocess
    from backmix.methods.network import Network


def ready_detector(
    name: str, network: Network, preprocess: Preprocess, training: Callable[[], TrainingOutputs | None] | None
) -> Detector:
    """Make a detector, attach it to a network, and fit it if it needs fitting.

    Args:
        name: The name of the detector: a key of `DETECTORS`, or two of `OURS` with a "+" between them.
        network: The network. Its training or evaluation mode does not change.
        preprocess: The normalisation of the network's images.
        training: A function that returns the outputs to fit on. It is called only if the detector needs fitting. None:
            do not fit the detector.

    Raises:
        ValueError: If no detector has this name, the detector does not work with this network or these images, or
            there are no training outputs to fit on.
    """
    detector = make_detector(name)
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


def cautions(names: Iterable[str], ready: Callable[[str], Detector]) -> dict[str, str]:
    """Return by name why the scores of detectors cannot be relied on; those that can, or have no scores, are left out.

    Args:
        names: The names of detectors. `METHOD` is passed over.
        ready: A function that returns the ready detector of a name, and raises ValueError if it is not available.
    """
    found: dict[str, str] = {}
    for name in names:
        try:
            caution = "" if name == METHOD else ready(name).caution
        except ValueError:
            continue
        if caution:
            found[name] = caution
    return found
