"""A network that scores images and decides which of them it knows: calibrate, score, evaluate, predict."""

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
from backmix.detectors.fitting import ready_detector
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

    This is what a run is read into where nothing is to be trained. People use `backmix.OpenSetClassifier`, which is
    made of the same arguments and says what they are.

    Attributes:
        thresholds: by detector, for all classes together; empty before `calibrate`.
        class_thresholds: of the detector that decides, one for each class, see `fit_class_thresholds`.
        per_class: whether those decide instead of the one for all classes.
        training_outputs: what detectors are fitted on, see `keep_training_outputs`; None where nothing was kept.
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
            # What can be said before training is said now: no linear head, a package that is missing.
            ready_detector(detector, self.network, self.preprocess, None)

    def labels_for(self, source: ImageSource) -> Tensor:
        """Labels of a source in this classifier's numbers, by class name; -1 for classes it does not know."""
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

        There is one for the detector that decides, for the method's own score, and for each detector of `OURS`;
        openmax is left out where no training outputs are kept. For the one that decides there is also one a class.

        At most a share 1 - accept of new known images is then rejected in expectation (split conformal prediction).
        Unknown images of the source, if any, are not looked at.

        Args:
            source: held-out images.
            positions: which of them; None: all.
            accept: share of known images to accept; None: as set.
            per_class: whether each class has a threshold of its own; None: as set.
            workers: threads that decode.

        Returns:
            What the network said of the images used.

        Raises:
            DataError: when there is no known image among them.
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
        self._ready.clear()  # The network may have been trained since.
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
        """Whether images are accepted as known, and their p-values, by the thresholds that decide.

        Args:
            scores: (B,) float unknown scores of the detector that decides.
            predicted: (B,) int64 likeliest class of each.

        Returns:
            (B,) bool and (B,) float64 on the CPU; all accepted, and no p-values, before `calibrate`.
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
        """Figures on a test set; images of classes that are not known count as unknown.

        Args:
            source: test images.
            detectors: names, or ["all"] for every one that this network allows; None: the method's own score,
                those of `OURS`, and the one that decides.
            workers: threads that decode.
            on_images: told the number of images done.

        Returns:
            See `backmix.inference.evaluation.figures`; `unreadable` lists the images left out and why, `left_out` the
            reason why a detector that was not asked for by its name has no figures.

        Raises:
            ValueError: for a name that does not exist, or a detector asked for that has no scores here.
        """
        asked = [name for name in detectors or () if name != "all"]
        for name in asked:
            check_name(name)
        names = asked if detectors else list(dict.fromkeys([METHOD, *OURS, self.detector]))
        if detectors and "all" in detectors:
            names = [METHOD, *DETECTORS]
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
        result["left_out"] = left_out
        return result

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
        """Unknown scores of the images of a source.

        Args:
            source: images.
            detectors: names.
            positions: which images; None: all.
            optional: names that are left out where they cannot be had, instead of raising their error.
            workers: threads that decode.
            on_images: told the number of images done.

        Returns:
            What the network said of the N images that could be read, scores (N,) by name, and by name the reason why
            others have none.

        Raises:
            DataError: when no image could be read.
            ValueError: for a name that does not exist, or a detector that has no scores here.
        """
        ready, left_out = self._make_ready(detectors, optional)
        outputs = self._collect(source, self.labels_for(source), positions, workers, on_images, ready, optional)
        able = {name: detector for name, detector in ready.items() if name not in outputs.left_out}
        scores, without = unknown_scores(outputs.response, outputs.image_scores, able, optional=optional)
        return outputs, scores, left_out | outputs.left_out | without

    @property
    def training_outputs(self) -> TrainingOutputs | None:
        """What the network says of training images, read when first asked for."""
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
        """Run known training images once, as they are, and keep what detectors are fitted on, see `TrainingOutputs`.

        At most `backmix.detectors.training_outputs.TRAINING_LIMIT` of them, evenly spread over the classes.

        Args:
            source: training images.
            positions: (M,) which of them; None: all of known classes.
            workers: threads that decode.
        """
        labels = self.labels_for(source)
        wanted = torch.arange(len(labels)) if positions is None else torch.as_tensor(positions, dtype=torch.int64)
        wanted = wanted[labels[wanted] >= 0]
        chosen = evenly_spread(wanted, labels[wanted])
        outputs = self._collect(source, labels, chosen.tolist(), workers, stages=True)
        self.training_outputs = TrainingOutputs.of(outputs.logits, outputs.features, outputs.labels, outputs.stages)

    def ready_detector(self, name: str) -> Detector:
        """The detector of this name, attached to the network, and fitted, when first asked for.

        Raises:
            ValueError: for a name that does not exist, or a detector that cannot be had here, with the reason.
        """
        if name not in self._ready:
            self._ready[name] = ready_detector(name, self.network, self.preprocess, lambda: self.training_outputs)
        return self._ready[name]

    def predict(
        self, images: Tensor | Iterable[str | Path | Image.Image], *, batch_size: int = 256, top: int = 3
    ) -> list[Prediction]:
        """Answer for each image a class name or "unknown".

        Args:
            images: (N, 3, S, S) uint8 decoded by `preprocess`, or paths or pictures of any size.
            batch_size: images at a time.
            top: how many of the likeliest classes to tell.

        Returns:
            One prediction an image, in order; an unreadable image has an error and no label.

        Raises:
            TypeError: for one path or picture that is not in a list.
            ValueError: for a tensor of another shape or dtype.
        """
        if isinstance(images, (str, bytes, Path, Image.Image)):
            raise TypeError(f"predict takes several images; put this one into a list: [{images!r}]")
        if isinstance(images, Tensor):
            return self._answers(images, [str(i) for i in range(len(images))], batch_size, top=top)
        return answer_pictures(images, self.preprocess.decode, partial(self._answers, top=top), batch_size)

    def to(self, device: str | torch.device) -> Self:
        """Move the network to a device; returns itself."""
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
        """Detectors by name, None for the method's own score, and why some of the optional ones cannot be had."""
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
    """Those that look at images."""
    return {name: detector for name, detector in detectors.items() if detector is not None and detector.needs_images}
