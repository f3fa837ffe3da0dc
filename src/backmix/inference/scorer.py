"""A network that scores images: its answers and unknown scores, and the detectors that are fitted for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from backmix.data.common_range import common_ranges, use_ranges
from backmix.data.names import match_names
from backmix.data.preprocess import Preprocess
from backmix.data.source import ImageSource, checked_labels
from backmix.data.value_range import Range
from backmix.detectors import METHOD, Detector, check_name
from backmix.detectors.fitting import ready_detector
from backmix.detectors.training_outputs import TrainingOutputs, evenly_spread
from backmix.errors import in_one_line
from backmix.inference.evaluation import Answers, Outputs, collect, run_network, unknown_scores
from backmix.inference.feature_cache import default_folder
from backmix.inference.frozen import FrozenFeatures
from backmix.inference.pooled_outputs import outputs_of, respond_to_pooled
from backmix.methods.network import Network
from backmix.mixing.default_dtype import in_float32

MANY = 400
"""The number of images from which on it pays to write a frozen network for a faster engine, which is done once for a
machine and takes as long as PyTorch takes for 100 to 300 images."""


class Scorer:
    """A network and the classes it knows, with the unknown scores of its detectors.

    Args:
        classes: The names of the known classes, in the order of the network's outputs.
        network: The network.
        preprocess: The preprocessing of its images.
        precision: "bf16" or "fp32".

    Attributes:
        training_outputs: The outputs that detectors are fitted on, see `keep_training_outputs`; None if not kept.
        value_ranges: The range of each kind of deep values whose file declares none, see
            `backmix.data.common_range.common_ranges`; None before a training.
        frozen: Whether the backbone has its published weights and only the head was trained. Pooled features are then
            computed by the fastest engine of the machine and kept in `cache_folder`.
        cache_folder: The folder of the features that are kept between runs; None: nothing is kept.
    """

    def __init__(self, classes: Sequence[str], network: Network, preprocess: Preprocess, precision: str) -> None:
        self.classes = list(classes)
        self.network = network
        self.preprocess = preprocess
        self.precision = precision
        self.value_ranges: dict[str, Range] | None = None
        self.frozen = False
        self.cache_folder: Path | None = default_folder()
        self._training: TrainingOutputs | Callable[[], TrainingOutputs] | None = None
        self._ready: dict[str, Detector] = {}
        self._features: FrozenFeatures | None = None
        self._images = 0  # The number of images whose pooled features were asked for.

    def labels_for(self, source: ImageSource) -> Tensor:
        """Return the labels of a source in the numbers of this classifier; -1 for unknown classes.

        Classes are matched by name, see `backmix.data.names.match_names`. From then on the source reads deep pixels
        with `value_ranges`.

        Raises:
            TypeError: If it is no source of images.
            DataError: If a label is the number of no class.
        """
        if not isinstance(source, ImageSource):
            where = repr(str(source)) if isinstance(source, (str, Path)) else repr(getattr(source, "root", "FOLDER"))
            raise TypeError(
                f"images with labels are given as backmix.data.load_source opens them; got {type(source).__name__}. "
                f"Give load_source({where})"
            )
        use_ranges(source, self.value_ranges or {})
        number = {name: i for i, name in enumerate(self.classes)}
        matched = match_names(source.classes, self.classes)
        table = torch.tensor([*(number[matched[name]] if name in matched else -1 for name in source.classes), -1])
        return table[checked_labels(source)]

    def labels_to_train(self, source: ImageSource, workers: int) -> Tensor:
        """Return the labels of training images, see `labels_for`, and find `value_ranges` by them if there are none."""
        if self.value_ranges is None:
            self.value_ranges = common_ranges(source, workers=workers)
        return self.labels_for(source)

    @in_float32
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
            The outputs of the network for the N readable images, the scores (N,) by name, and by name the reasons why
            other detectors have none.

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

    @in_float32
    def keep_training_outputs(
        self,
        source: ImageSource,
        positions: Tensor | Sequence[int] | None = None,
        *,
        references: Mapping[str, Tensor] | None = None,
        workers: int = 2,
    ) -> None:
        """Run the network on known training images, and keep the outputs that detectors are fitted on.

        The images are used once, without augmentation. At most
        `backmix.detectors.training_outputs.TRAINING_LIMIT` of them are used, evenly spread over the classes. See
        `TrainingOutputs` for the outputs.

        Args:
            source: The training images.
            positions: (M,) the positions of the images to use; None: all images of known classes.
            references: The scores that a combined detector compares with, see `TrainingOutputs`.
            workers: The number of threads that decode images.
        """
        labels = self.labels_for(source)
        wanted = torch.arange(len(labels)) if positions is None else torch.as_tensor(positions, dtype=torch.int64)
        wanted = wanted[labels[wanted] >= 0]
        chosen = evenly_spread(wanted, labels[wanted])
        outputs = self._collect(source, labels, chosen.tolist(), workers, stages=True)
        self.training_outputs = TrainingOutputs.of(
            outputs.logits, outputs.features, outputs.labels, outputs.stages, references
        )

    def ready_detector(self, name: str) -> Detector:
        """Return the detector of a name. On first use it is attached to the network and fitted.

        Raises:
            ValueError: If the name does not exist, or the detector is not available here; the error gives the reason.
        """
        if name not in self._ready:
            self._ready[name] = ready_detector(name, self.network, self.preprocess, lambda: self.training_outputs)
        return self._ready[name]

    def to(self, device: str | torch.device) -> Self:
        """Move the network to a device, and return the object itself."""
        self.network.to(device)
        self._ready.clear()
        self._features = None
        return self

    @property
    def frozen_features(self) -> FrozenFeatures:
        """What computes the pooled features of a frozen backbone. It is made on first use."""
        if self._features is None:
            self._features = self._make_features(build=False)
        return self._features

    @frozen_features.setter
    def frozen_features(self, features: FrozenFeatures | None) -> None:
        self._features = features

    def _features_for(self, images: int) -> FrozenFeatures:
        """Return what computes the pooled features of further images; for many, it is the fastest engine there is."""
        self._images += images
        built = self._features is not None and self._features.build
        if self._images >= MANY and self.cache_folder is not None and not built:
            self._features = self._make_features(build=True)
        return self.frozen_features

    def _make_features(self, *, build: bool) -> FrozenFeatures:
        return FrozenFeatures(
            self.network.backbone.eval(),
            self.preprocess,
            precision=self.precision,
            folder=self.cache_folder,
            build=build,
        )

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
        on_images_only = _on_images(detectors or {})
        if self.frozen and not on_images_only:
            features = self._features_for(len(source if positions is None else positions))
            found = features.of(source, positions, workers=workers, on_images=on_images)
            return outputs_of(self.network.head, found, labels)
        return collect(
            self.network,
            self.preprocess,
            source,
            labels,
            positions=positions,
            precision=self.precision,
            workers=workers,
            on_images=on_images,
            detectors=on_images_only,
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

    @in_float32
    def run(self, images: Tensor, ready: Mapping[str, Detector | None], batch_size: int) -> Answers:
        """Return the outputs for decoded images (B, 3, S, S) uint8, computed as for the images of a source.

        Args:
            images: The images.
            ready: The ready detectors by name, None for the method's own score.
            batch_size: The largest number of images per batch.
        """
        on_images = _on_images(ready)
        if self.frozen and not on_images:
            pooled = self._features_for(len(images)).of_images(images)
            return Answers(respond_to_pooled(self.network.head, pooled), {}, {}, [])
        return run_network(
            self.network, self.preprocess, images, precision=self.precision, batch_size=batch_size, detectors=on_images
        )


def _on_images(detectors: Mapping[str, Detector | None]) -> dict[str, Detector]:
    """Return the detectors that need images."""
    return {name: detector for name, detector in detectors.items() if detector is not None and detector.needs_images}
