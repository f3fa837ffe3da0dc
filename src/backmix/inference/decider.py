"""A network that scores images and decides which of them it knows, with calibration, evaluation and prediction."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from backmix.data.known import check_classes
from backmix.data.photo import DECODING
from backmix.data.preprocess import MEAN, STD, Preprocess
from backmix.data.source import ImageSource
from backmix.data.value_range import Range
from backmix.detectors import DETECTORS, METHOD, OURS, check_name, default_detector
from backmix.detectors.fitting import cautions, ready_detector
from backmix.errors import DataError, some_of
from backmix.inference.answers import answer_pictures, predictions
from backmix.inference.evaluation import Outputs, figures, own_answers, unknown_scores
from backmix.inference.scorer import Scorer
from backmix.methods.network import create_network
from backmix.metrics.acceptance import SHARES, acceptance_table
from backmix.metrics.usefulness import Verdict, judge
from backmix.mixing.default_dtype import in_float32
from backmix.models.precision import resolve_precision
from backmix.models.timm_backbone import TimmBackbone
from backmix.prediction.answer import Prediction
from backmix.threshold.by_class import decide, fit_class_thresholds
from backmix.threshold.conformal import ConformalThreshold, min_held_out
from backmix.threshold.default import ACCEPT


class Decider(Scorer):
    """A network, the classes it knows, and a threshold on its unknown score.

    A run is loaded as a `Decider` if nothing is to be trained. People use `backmix.OpenSetClassifier`, which takes the
    same arguments and describes them.

    Attributes:
        thresholds: The threshold of each detector, for all classes together; empty before `calibrate`.
        class_thresholds: The thresholds of the detector that decides, one for each class, see `fit_class_thresholds`.
        per_class: Whether the thresholds of single classes decide instead of the threshold for all classes.
    """

    @in_float32
    def __init__(
        self,
        classes: Sequence[str],
        *,
        model: str = "compact",
        method: str = "softmax",
        image_size: int = 32,
        detector: str | None = None,
        accept: float = ACCEPT,
        pretrained: bool = False,
        precision: str = "auto",
        seed: int = 0,
        model_options: dict[str, Any] | None = None,
        method_options: dict[str, Any] | None = None,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        value_ranges: Mapping[str, Range] | None = None,
        decoding: int | None = None,
    ) -> None:
        check_classes(classes)
        if (mean is None) != (std is None):
            raise ValueError(f"mean and std belong together; got mean={mean} and std={std}")
        if detector is None:
            detector = default_detector(method)
        check_name(detector)
        if not 0 < accept < 1:
            raise ValueError(f"accept is a share of the known images, between 0 and 1; got {accept}")
        self.detector = detector
        self.accept = accept
        self.settings: dict[str, Any] = {
            "model": model,
            "method": method,
            "image_size": image_size,
            "model_options": dict(model_options or {}),
            "method_options": dict(method_options or {}),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = create_network(
                model,
                method,
                len(classes),
                image_size=image_size,
                pretrained=pretrained,
                model_options=model_options,
                method_options=method_options,
            )
        backbone = network.backbone
        if ":" in model and isinstance(backbone, TimmBackbone):
            # A run is loaded without asking the place that defined its network, so it names the network itself.
            self.settings["model"] = backbone.architecture
            self.settings["model_options"] = {**backbone.architecture_options, **self.settings["model_options"]}
        if mean is None:
            mean, std = getattr(backbone, "mean", None), getattr(backbone, "std", None)
        preprocess = Preprocess(image_size, mean or MEAN, std or STD, DECODING if decoding is None else decoding)
        super().__init__(classes, network, preprocess, resolve_precision(precision))
        self.value_ranges = None if value_ranges is None else dict(value_ranges)
        self.thresholds: dict[str, ConformalThreshold] = {}
        self.class_thresholds: list[ConformalThreshold | None] = []
        self.per_class = False
        if detector != METHOD:
            # Errors that do not need a training are raised now: there is no linear head, or a package is missing.
            ready_detector(detector, self.network, self.preprocess, None)

    @in_float32
    def calibrate(
        self,
        source: ImageSource,
        *,
        positions: Sequence[int] | None = None,
        accept: float | None = None,
        per_class: bool | None = None,
        workers: int = 2,
    ) -> Outputs:
        """Fit thresholds on known images that were not trained on.

        The detector that decides, the method's own score and each detector of `OURS` get a threshold; those that need
        training outputs are left out if none are kept. The detector that decides also gets a threshold for each class.

        At most a share 1 - accept of new known images is then rejected in expectation (split conformal prediction).
        Unknown images of the source, if any, are not used.

        Args:
            source: The held-out images.
            positions: The positions of the images to use; None: all images.
            accept: The share of known images to accept; None: the current share is kept.
            per_class: Whether each class has a threshold of its own; None: the current choice is kept.
            workers: The number of threads that decode images.

        Returns:
            The outputs of the network for the images used.

        Raises:
            DataError: If there is no known image among them.
            ValueError: If `accept` is not between 0 and 1.
        """
        if accept is not None:
            if not 0 < accept < 1:
                raise ValueError(f"accept is a share of the known images, between 0 and 1; got {accept}")
            self.accept = accept
        if per_class is not None:
            self.per_class = per_class
        labels = self.labels_for(source)
        wanted = range(len(source)) if positions is None else positions
        known = [int(p) for p in wanted if labels[int(p)] >= 0]
        if not known:
            raise DataError(
                f"no image of a known class to calibrate on; known: {some_of(self.classes)}; "
                f"found: {some_of(source.classes) or 'none'}"
            )
        self._ready.clear()  # The network may have been trained since the detectors were fitted.
        ready = self._make_ready([METHOD, *OURS], optional=[METHOD, *OURS])[0]
        ready |= self._make_ready([self.detector])[0]
        outputs = self._collect(source, labels, known, workers, detectors=ready)
        found = unknown_scores(outputs.response, outputs.image_scores, ready)[0]
        self.thresholds = {name: ConformalThreshold.fit(scores, accept=self.accept) for name, scores in found.items()}
        predicted = outputs.logits.argmax(1)
        self.class_thresholds = fit_class_thresholds(
            found[self.detector], predicted, len(self.classes), accept=self.accept
        )
        return outputs

    def set_accept(self, accept: float) -> None:
        """Change the share of known images to accept of a calibrated classifier, from the same held-out scores.

        Args:
            accept: The share of known images to accept, above 0 and below 1. A class with too few held-out images for
                it loses its own threshold.
        """
        fewest = min_held_out(accept)
        self.accept = accept
        self.thresholds = {name: ConformalThreshold(own.scores, accept) for name, own in self.thresholds.items()}
        self.class_thresholds = [
            ConformalThreshold(own.scores, accept) if own is not None and len(own.scores) >= fewest else None
            for own in self.class_thresholds
        ]

    def decide(self, scores: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor | None]:
        """Decide which images are accepted as known, and give their p-values.

        Args:
            scores: (B,) float, the unknown scores of the detector that decides.
            predicted: (B,) int64, the likeliest class of each image.

        Returns:
            (B,) bool, whether each image is accepted, and (B,) float64 p-values, on the CPU. Before `calibrate`, all
            images are accepted and there are no p-values.
        """
        threshold = self.thresholds.get(self.detector)
        if threshold is None:
            return torch.ones(len(scores), dtype=torch.bool), None
        return decide(scores, predicted, threshold, self.class_thresholds if self.per_class else None)

    @in_float32
    def evaluate(
        self,
        source: ImageSource,
        *,
        detectors: Sequence[str] | None = None,
        workers: int = 2,
        on_images: Callable[[int], object] | None = None,
    ) -> dict[str, Any]:
        """Compute figures on a test set. Images of classes that are not known count as unknown.

        Args:
            source: The test images.
            detectors: The names of detectors, or ["all"] for every detector that this network allows; None: the
                method's own score, the detectors of `OURS`, and the detector that decides.
            workers: The number of threads that decode images.
            on_images: A function that is called with the number of images done so far.

        Returns:
            The figures, see `backmix.inference.evaluation.figures`. In addition, `unreadable` lists the images left out
            and the reasons, `left_out` why detectors that were not requested by name have no figures, `cautions` why
            the figures of others cannot be relied on, `verdict` whether anything is no better than a guess, and
            `acceptance` what one threshold for all classes does to these images at several shares to accept.
            Detectors with a caution are left out of "all".

        Raises:
            ValueError: If a name does not exist, or a detector that was requested by name has no scores here.
        """
        asked = [name for name in detectors or () if name != "all"]
        for name in asked:
            check_name(name)
        names = asked if detectors else list(dict.fromkeys([METHOD, *OURS, self.detector]))
        if detectors and "all" in detectors:
            names = list(dict.fromkeys([METHOD, *DETECTORS, self.detector]))
        weak = cautions((name for name in names if name not in (*asked, self.detector)), self.ready_detector)
        names = [name for name in names if name not in weak]
        optional = [name for name in names if name not in asked]
        outputs, scores, left_out = self.scores(source, names, optional=optional, workers=workers, on_images=on_images)
        own = own_answers(
            outputs.response, {name: None if name == METHOD else self.ready_detector(name) for name in scores}
        )
        accepted = {
            name: threshold.accept(scores[name]) for name, threshold in self.thresholds.items() if name in scores
        }
        if self.detector in accepted:
            accepted[self.detector] = self.decide(scores[self.detector], outputs.logits.argmax(1))[0]
        result = figures(outputs, scores, accepted, own)
        result["unreadable"] = [{"path": name, "reason": reason} for name, reason in outputs.skipped]
        if self.detector in self.thresholds and self.detector in scores:
            of, known = scores[self.detector], outputs.labels >= 0
            rows = acceptance_table(
                self.thresholds[self.detector].scores, of[known], of[~known], {*SHARES, self.accept}
            )
            result["acceptance"] = [asdict(row) for row in rows]
        auroc = result["detectors"].get(self.detector, {}).get("auroc")
        result["verdict"] = self.judged(outputs, auroc).to_dict()
        return result | {"left_out": weak | left_out, "cautions": cautions(scores, self.ready_detector)}

    def judged(self, outputs: Outputs, auroc: float | None = None) -> Verdict:
        """Judge by the outputs for images that nothing was fitted on whether this classifier is of any use.

        Args:
            outputs: The outputs of the network.
            auroc: The AUROC of the detector that decides; None if it was not measured.
        """
        unknown = int((outputs.labels < 0).sum())
        return judge(outputs.labels, outputs.logits.argmax(1), self.classes, auroc=auroc, unknown=unknown)

    @in_float32
    def predict(
        self,
        images: Tensor | Iterable[str | Path | Image.Image | bytes | npt.NDArray[np.uint8]],
        *,
        batch_size: int = 256,
        top: int = 3,
    ) -> list[Prediction]:
        """Answer each image with a class name or "unknown".

        Args:
            images: (N, 3, S, S) uint8 images that `preprocess` decoded, or a list of paths, of encoded images as bytes,
                or of pictures of any size, which are pictures of Pillow or uint8 arrays (H, W, 3).
            batch_size: The number of images per batch.
            top: The number of likeliest classes to give.

        Returns:
            One prediction for each image, in order. An unreadable image has an error and no label.

        Raises:
            TypeError: If one path or picture is given that is not in a list, or something else.
            ValueError: If a tensor has another shape or dtype, `batch_size` is below 1, or `top` below 0.
        """
        if batch_size < 1 or top < 0:
            raise ValueError(f"batch_size is at least 1 and top at least 0; got {batch_size} and {top}")
        if isinstance(images, (str, bytes, Path, Image.Image)):
            shown = textwrap.shorten(repr(images), 100, placeholder=" ...")
            raise TypeError(f"predict takes several images; put this one into a list: [{shown}]")
        if isinstance(images, np.ndarray) and images.ndim != 4:
            raise TypeError(
                f"predict takes several images; put this one into a list, or give (N, H, W, 3): it is {images.shape}"
            )
        if isinstance(images, Tensor):
            return self._answers(images, [str(i) for i in range(len(images))], batch_size, top=top)
        answer, ranges = partial(self._answers, top=top), self.value_ranges or {}
        return answer_pictures(
            images, self.preprocess.decode, answer, batch_size, ranges, at_least=self.preprocess.at_least
        )

    def _answers(self, images: Tensor, names: list[str], batch_size: int, *, top: int) -> list[Prediction]:
        size = self.preprocess.image_size
        if images.ndim != 4 or images.shape[1:] != (3, size, size) or images.dtype != torch.uint8:
            raise ValueError(
                f"images must be (N, 3, {size}, {size}) uint8; got {tuple(images.shape)} {images.dtype}. "
                "Use classifier.preprocess.decode on pictures, or give paths."
            )
        ready = self._make_ready([self.detector])[0]
        answers = self.run(images, ready, batch_size)
        logits = answers.response.logits
        scores = unknown_scores(answers.response, answers.image_scores, ready)[0][self.detector]
        known, found = self.decide(scores, logits.argmax(1))
        return predictions(names, self.classes, logits, scores, known, found, top)
