"""The open-set classifier: a `Decider` that can also be trained, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from backmix.data.source import ImageSource
from backmix.inference.decider import Decider
from backmix.runs.folder import load_from_hub, save_run


class OpenSetClassifier(Decider):
    """A network, the classes it knows, and a threshold on its unknown score.

    Args:
        classes: The names of the known classes, in the order of the network's outputs.
        model: The name of the backbone, see `backmix.models.create_backbone`.
        method: The name of the training objective, see `backmix.methods.METHODS`.
        image_size: The side of the images in pixels.
        detector: The name of the unknown score that decides, see `backmix.detectors.DETECTORS`; "method" is the
            method's own score. None: "max_logit" for softmax, "method" for other methods.
        accept: The share of known images that the threshold is to accept, 0..1.
        pretrained: Whether to start from published weights (timm models).
        precision: The precision of training and prediction, "bf16", "fp32" or "auto", see `TrainOptions`.
        seed: The seed of the initial weights.
        model_options: Further options of the backbone.
        method_options: Further options of the method.
        mean: The mean of each channel for the normalisation, of pixels in 0..1. None: the mean that the published
            weights of the backbone were trained with, or 0.5.
        std: The standard deviation of each channel for the normalisation, of pixels in 0..1; given together with
            `mean`. None: the deviation that the published weights of the backbone were trained with, or 0.25.
        value_ranges: The values that are black and white in photographs of more than 8 bits a channel whose files do
            not say it, by the kind of values, such as {"uint16": (0, 4095)}. None: `fit` finds them.
        decoding: The version of decoding, see `backmix.data.photo`: 1 for every pixel of a file, 2 for no more than are
            wanted. None: the newest.

    Raises:
        DataError: If there are fewer than two classes, two classes have the same name, or one is called "unknown".
        ValueError: If a name does not exist, the method does not allow the detector, or only one of mean and std is
            given.

    Attributes:
        thresholds: The threshold of each detector, for all classes together; empty before `calibrate`.
        class_thresholds: The thresholds of the detector that decides, one for each class, see `fit_class_thresholds`.
        per_class: Whether the thresholds of single classes decide instead of the threshold for all classes.
        training_outputs: The outputs that detectors are fitted on, see `keep_training_outputs`; None if nothing was
            kept.
    """

    def fit(self, source: ImageSource, **options: Any) -> Any:
        """Train on the known images of a source, then calibrate on a held-out share of them.

        See `backmix.fit.fit` for the options and the report that is returned.
        """
        # The training loop imports accelerate, which prediction does not need.
        from backmix.fit.training import fit

        return fit(self, source, **options)

    def save(self, folder: str | Path, *, extra: dict[str, Any] | None = None) -> None:
        """Write model.safetensors, classes.json, calibration.json and config.yaml into a folder."""
        save_run(self, Path(folder), extra=extra)

    @classmethod
    def load(cls, run: str | Path, *, revision: str | None = None, token: str | bool | None = None) -> Self:
        """Load a classifier that `save` wrote. Nothing in the folder is executed.

        Args:
            run: A folder, or a repository of the Hugging Face hub as "hub:owner/name", see `backmix.runs.fetch.hub_id`.
            revision: The revision of the repository; None: main.
            token: The token for a private repository; None: the token of the logged-in user.

        Raises:
            RunError: If a file is missing, altered, or from another version, or the repository cannot be fetched.
        """
        return load_from_hub(run, revision=revision, token=token, kind=cls)
