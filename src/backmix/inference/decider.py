"""A network that scores images and decides which of them it knows, with calibration, evaluation and prediction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from backmix.data.known import check_classes
from backmix.data.preprocess import Preprocess
from backmix.data.source import ImageSource
from backmix.detectors import DETECTORS, METHOD, OURS, Detector, check_name
from backmix.detectors.fitting import cautions, ready_detector
from backmix.detectors.training_outputs import TrainingOutputs, evenly_spread
from backmix.errors import DataError, in_one_line, some_of
from backmix.inference.answers import answer_pictures, predictions
from backmix.inference.evaluation import Outputs, collect, figures, own_answers, run_network, unknown_scores
from backmix.methods.network import Network, create_network
from backmix.models.precision import resolve_precision
from backmix.prediction.answer import Prediction
from backmix.threshold.by_class import decide, fit_class_thresholds
from backmix.threshold.conformal import ConformalThreshold
from backmix.threshold.default import ACCEPT


class Decider:
    """A network, the classes it knows, and a threshold on its unknown score.

    A run is loaded as a `Decider` if nothing is to be trained. People use `backmix.OpenSetClassifier`, which takes the
    same arguments and describes them.

    Attributes:
        thresholds: The threshold of each detector, for all classes together; empty before `calibrate`.
        class_thresholds: The thresholds of the detector that decides, one for each class, see `fit_class_thresholds`.
        per_class: Whether the thresholds of single classes decide instead of the threshold for all classes.
        training_outputs: The outputs that detectors are fitted on, see `keep_training_outputs`; None if not kept.
    """

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
    ) -> None:
        check_classes(classes)
        if (mean is None) != (std is None):
            raise ValueError(f"mean and std belong together; got mean={mean} and std={std}")
        if detector is None:
            detector = "max_logit" if method == "softmax" else METHOD
        check_name(detector)
        if not 0 < accept < 1:
            raise ValueError(f"accept is a share of the known images, between 0 and 1; got {accept}")
        self.classes = list(classes)
        self.detector = detector
        self.accept = accept
        self.precision = resolve_precision(precision)
        self.settings: dict[str, Any] = {
            "model": model,
            "method": method,
            "image_size": image_size,
            "model_options": dict(model_options or {}),
            "method_options": dict(method_options or {}),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network: Network = create_network(
                model,
                method,
                len(classes),
                image_size=image_size,
                pretrained=pretrained,
                model_options=model_options,
                method_options=method_options,
            )
        backbone = self.network.backbone
        if mean is None:
            mean, std = getattr(backbone, "mean", None), getattr(backbone, "std", None)
        self.preprocess = Preprocess(image_size, mean, std) if mean and std else Preprocess(image_size)
        self.thresholds: dict[str, ConformalThreshold] = {}
        self.class_thresholds: list[ConformalThreshold | None] = []
        self.per_class = False
        self._training: TrainingOutputs | Callable[[], TrainingOutputs] | None = None
        self._ready: dict[str, Detector] = {}
        if detector != METHOD:
            # Errors that do not need a training are raised now: there is no linear head, or a package is missing.
            ready_detector(detector, self.network, self.preprocess, None)

    def labels_for(self, source: ImageSource) -> Tensor:
        """Return the labels of a source in the numbers of this classifier, by class name; -1 for unknown classes."""
        number = {name: i for i, name in enumerate(self.classes)}
        table = torch.tensor([*(number.get(name, -1) for name in source.classes), -1])
        return table[source.labels]

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
            and the reasons, `left_out` why detectors that were not requested by name have no figures, and `cautions`
            why the figures of others cannot be relied on. Detectors with a caution are left out of "all".

        Raises:
            ValueError: If a name does not exist, or a detector that was requested by name has no scores here.
        """
        asked = [name for name in detectors or () if name != "all"]
        for name in asked:
            check_name(name)
        names = asked if detectors else list(dict.fromkeys([METHOD, *OURS, self.detector]))
        if detectors and "all" in detectors:
            names = [METHOD, *DETECTORS]
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
        return result | {"left_out": weak | left_out, "cautions": cautions(scores, self.ready_detector)}

    def scores(
        self,
        source: ImageSource,
        detectors: Sequence[str],
        *,
        positions: Sequence[int] | None = None,
        optional: Collection[str] = (),
        workers: int = 2,
        on_images: Callable[[int], object] | None = None,
    ) -> tuple[Outputs, dict[str, Tensor], dict[str, str]]:
        """Return the unknown scores of the images of a source.

        Args:
            source: The images to score.
            detectors: The names of the detectors.
            positions: The positions of the images in the source; None: all images.
            optional: The names of detectors that are left out if they are not available, instead of raising an error.
            workers: The number of threads that decode images.
            on_images: A function that is called with the number of images done so far.

        Returns:
            The outputs for the N readable images, their scores (N,) by name, and by name why other detectors have none.

        Raises:
            DataError: If no image can be read.
            ValueError: If a name does not exist, or a detector has no scores here.
        """
        ready, left_out = self._make_ready(detectors, optional)
        outputs = self._collect(source, self.labels_for(source), positions, workers, on_images, ready, optional)
        able = {name: detector for name, detector in ready.items() if name not in outputs.left_out}
        scores, without = unknown_scores(outputs.response, outputs.image_scores, able, optional=optional)
        return outputs, scores, left_out | outputs.left_out | without

    @property
    def training_outputs(self) -> TrainingOutputs | None:
        """The outputs of the network for training images, which are read on first use."""
        if callable(self._training):
            self._training = self._training()
        return self._training

    @training_outputs.setter
    def training_outputs(self, outputs: TrainingOutputs | Callable[[], TrainingOutputs] | None) -> None:
        self._training = outputs
        self._ready.clear()

    def keep_training_outputs(
        self, source: ImageSource, positions: Tensor | Sequence[int] | None = None, *, workers: int = 2
    ) -> None:
        """Run the network on known training images, and keep the outputs that detectors are fitted on.

        The images are used once, without augmentation, at most `TRAINING_LIMIT` of them, evenly spread over the
        classes. See `backmix.detectors.training_outputs`.

        Args:
            source: The training images.
            positions: (M,) the positions of the images to use; None: all images of known classes.
            workers: The number of threads that decode images.
        """
        labels = self.labels_for(source)
        wanted = torch.arange(len(labels)) if positions is None else torch.as_tensor(positions, dtype=torch.int64)
        wanted = wanted[labels[wanted] >= 0]
        chosen = evenly_spread(wanted, labels[wanted])
        outputs = self._collect(source, labels, chosen.tolist(), workers, stages=True)
        self.training_outputs = TrainingOutputs.of(outputs.logits, outputs.features, outputs.labels, outputs.stages)

    def ready_detector(self, name: str) -> Detector:
        """Return the detector of a name. On first use it is attached to the network and fitted.

        Raises:
            ValueError: If the name does not exist, or the detector is not available here; the error gives the reason.
        """
        if name not in self._ready:
            self._ready[name] = ready_detector(name, self.network, self.preprocess, lambda: self.training_outputs)
        return self._ready[name]

    def predict(
        self, images: Tensor | Iterable[str | Path | Image.Image], *, batch_size: int = 256, top: int = 3
    ) -> list[Prediction]:
        """Answer each image with a class name or "unknown".

        Args:
            images: (N, 3, S, S) uint8 images that `preprocess` decoded, or paths, or pictures of any size.
            batch_size: The number of images per batch.
            top: The number of likeliest classes to give.

        Returns:
            One prediction for each image, in order. An unreadable image has an error and no label.

        Raises:
            TypeError: If one path or picture is given that is not in a list.
            ValueError: If a tensor has another shape or dtype.
        """
        if isinstance(images, (str, bytes, Path, Image.Image)):
            raise TypeError(f"predict takes several images; put this one into a list: [{images!r}]")
        if isinstance(images, Tensor):
            return self._answers(images, [str(i) for i in range(len(images))], batch_size, top=top)
        return answer_pictures(images, self.preprocess.decode, partial(self._answers, top=top), batch_size)

    def to(self, device: str | torch.device) -> Self:
        """Move the network to a device, and return the object itself."""
        self.network.to(device)
        self._ready.clear()
        return self

    def _collect(
        self,
        source: ImageSource,
        labels: Tensor,
        positions: Sequence[int] | None,
        workers: int,
        on_images: Callable[[int], object] | None = None,
        detectors: Mapping[str, Detector | None] | None = None,
        optional: Collection[str] = (),
        stages: bool = False,
    ) -> Outputs:
        return collect(
            self.network,
            self.preprocess,
            source,
            labels,
            positions=positions,
            precision=self.precision,
            workers=workers,
            on_images=on_images,
            detectors=_on_images(detectors or {}),
            optional=optional,
            stages=stages,
        )

    def _make_ready(
        self, names: Iterable[str], optional: Collection[str] = ()
    ) -> tuple[dict[str, Detector | None], dict[str, str]]:
        """Return detectors by name, None for the method's own score, and the reasons why optional ones are missing."""
        ready: dict[str, Detector | None] = {}
        left_out: dict[str, str] = {}
        for name in names:
            try:
                check_name(name)
                ready[name] = None if name == METHOD else self.ready_detector(name)
            except ValueError as error:
                if name not in optional:
                    raise
                left_out[name] = in_one_line(error)
        return ready, left_out

    def _answers(self, images: Tensor, names: list[str], batch_size: int, *, top: int) -> list[Prediction]:
        size = self.preprocess.image_size
        if images.ndim != 4 or images.shape[1:] != (3, size, size) or images.dtype != torch.uint8:
            raise ValueError(
                f"images must be (N, 3, {size}, {size}) uint8; got {tuple(images.shape)} {images.dtype}. "
                "Use classifier.preprocess.decode on pictures, or give paths."
            )
        ready = self._make_ready([self.detector])[0]
        answers = run_network(
            self.network,
            self.preprocess,
            images,
            precision=self.precision,
            batch_size=batch_size,
            detectors=_on_images(ready),
        )
        logits = answers.response.logits
        scores = unknown_scores(answers.response, answers.image_scores, ready)[0][self.detector]
        known, found = self.decide(scores, logits.argmax(1))
        return predictions(names, self.classes, logits, scores, known, found, top)


def _on_images(detectors: Mapping[str, Detector | None]) -> dict[str, Detector]:
    """Return the detectors that need images."""
    return {name: detector for name, detector in detectors.items() if detector is not None and detector.needs_images}
