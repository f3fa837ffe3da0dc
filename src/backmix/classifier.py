"""The open-set classifier: what a `Decider` does, and fit, save, load."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from backmix.data.source import ImageSource
from backmix.inference.decider import Decider
from backmix.runs.folder import load_from_hub, save_run


class OpenSetClassifier(Decider):
    """A network, the classes it knows, and a threshold on its unknown score.

    Args:
        classes: names of the known classes, in the order of the network's outputs.
        model: backbone by name, see `backmix.models.create_backbone`.
        method: training objective by name, see `backmix.methods.METHODS`.
        image_size: side of the images in pixels.
        detector: which unknown score decides, see `backmix.detectors.DETECTORS`; "method": the method's own. None:
            "max_logit" for softmax, "method" for others.
        accept: share of known images that the threshold is to accept, 0..1.
        pretrained: start from published weights (timm models).
        precision: of training and prediction, "bf16", "fp32" or "auto", see `TrainOptions`.
        seed: of the initial weights.
        model_options: further options of the backbone.
        method_options: further options of the method.
        mean: of the normalisation, per channel, of pixels in 0..1. None: what the backbone's published weights were
            trained with, or 0.5.
        std: deviation of the normalisation; goes with `mean`. None: likewise, or 0.25.

    Raises:
        DataError: for fewer than two classes or two of the same name.
        ValueError: for names that do not exist, a detector that the method does not allow, or one of mean and std.

    Attributes:
        thresholds: by detector, for all classes together; empty before `calibrate`.
        class_thresholds: of the detector that decides, one for each class, see `fit_class_thresholds`.
        per_class: whether those decide instead of the one for all classes.
        training_outputs: what detectors are fitted on, see `keep_training_outputs`; None where nothing was kept.
    """

    def fit(self, source: ImageSource, **options: Any) -> Any:
        """Train on the known images of a source, then calibrate on a held-out share of them.

        The options are those of `backmix.fit.fit`, which also says what comes back.
        """
        # The training loop brings accelerate, which who only predicts need not wait for.
        from backmix.fit.training import fit

        return fit(self, source, **options)

    def save(self, folder: str | Path, *, extra: dict[str, Any] | None = None) -> None:
        """Write model.safetensors, classes.json, calibration.json and config.yaml into a folder."""
        save_run(self, Path(folder), extra=extra)

    @classmethod
    def load(cls, run: str | Path, *, revision: str | None = None, token: str | bool | None = None) -> Self:
        """Read what `save` wrote; nothing in it is executed.

        Args:
            run: a folder, or a repository of the Hugging Face hub as "hub:owner/name", see `backmix.runs.fetch.hub_id`.
            revision: of the repository; None: main.
            token: for a private one; None: the one that is logged in.

        Raises:
            RunError: when a file is missing, altered, or from another version, or the repository cannot be fetched.
        """
        return load_from_hub(run, revision=revision, token=token, kind=cls)
