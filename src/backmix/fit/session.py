"""One `backmix fit`: check its folder, choose the settings, train, and write the results."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from backmix.data.split import Split
from backmix.data.write_yaml import as_yaml
from backmix.files import make_folder, write_json, write_text
from backmix.fit.acceptance import choose_accept, count_held_out, keep_in_reach
from backmix.fit.arguments import FitArguments
from backmix.fit.auto_options import auto_options
from backmix.fit.begun import CHECKPOINT, begun_choices, check_out
from backmix.fit.begun_images import keep_images
from backmix.fit.budget import read_duration
from backmix.fit.choices import ModelChoice, choose_model_for, choose_training
from backmix.fit.data import ImageBar, held_out_shares, is_uneven, open_data, shown_unknowns, test_figures
from backmix.fit.fine_tuning import LEAST_SECONDS, fine_tune
from backmix.fit.first_process import from_first_process
from backmix.fit.fit_report import Comparison, FitReport
from backmix.fit.frozen_training import fit_frozen
from backmix.fit.quicker import LEAST_EPOCHS, TooSlow, affordable, quicker, seconds_of
from backmix.fit.repeat import as_config
from backmix.fit.run_metrics import run_metrics
from backmix.fit.training import check_names, fit
from backmix.foregrounds.choose import choose_estimator
from backmix.inference.decider import Decider
from backmix.inference.feature_cache import cache_folder
from backmix.inference.frozen import FrozenFeatures
from backmix.methods import METHODS, Method
from backmix.outliers.dataset import load_outliers
from backmix.runs.folder import FORMAT, read_config, save_run
from backmix.runs.held_out import Shares
from backmix.threshold.default import ACCEPT
from backmix.train.loop import EpochReport, Progress, make_accelerator
from backmix.train.recipe import TrainOptions
from backmix.train.training_log import begin_log, end_log
from backmix.version import __version__


class FitSession:
    """A training that a person asked for.

    The constructor checks the folder, opens the data, and chooses the network and the options. `train` trains the
    classifier, and `write` writes the results.

    Args:
        arguments: The options of the person.
        out: The run folder.
        resume: Whether to go on with the run in the folder. If there is no run yet, a new one begins.
        workers: The number of threads or processes that decode images.
        image_bar: A function that shows the progress of long steps before the training.

    Raises:
        RunError: If the folder holds another run or other files, or the options changed.
        ValueError: If both a budget and a number of epochs are given.

    Attributes:
        begin: The start time, by `time.monotonic`.
        chief: Whether this is the first process, which is the only one that prints and writes.
        data: The data of the training.
        model: The network and its initial weights.
        what: What is trained: "head", "all", or "auto" for the head and then all weights.
        image_size: The side of the images in pixels.
        cache: The folder in which features are kept between runs; None: nothing is kept.
        classifier: The classifier that is trained.
        known: (N,) int64, the known class of each training image, -1 for others.
        accept: The share of known images that the threshold is to accept.
        held: The number of images that are held out for the threshold.
        balance: Whether images of rare classes are shown more often.
        options: The training options. A budget may change them when the training begins.
        outliers: The images of unknown classes that are learnt from, "backgrounds", or None.
        leaked: The classes that the outliers share with the data.
        quicker: Why a smaller network or smaller images took the place of those that were chosen; None if none did.
        recorded: What config.yaml holds of the arguments and of what was chosen.
        expected: The seconds that the training of all weights takes without a budget; None if it is short.
    """

    def __init__(
        self,
        arguments: FitArguments,
        out: Path,
        *,
        resume: bool = False,
        workers: int = 2,
        image_bar: ImageBar | None = None,
    ) -> None:
        self.begin = time.monotonic()
        check_out(out, arguments, resume)
        self.arguments, self.out, self.resume, self.workers = arguments, out, resume, workers
        self.seconds = read_duration(arguments.budget) if arguments.budget else None
        if self.seconds is not None and arguments.epochs is not None:
            raise ValueError("--budget and --epochs both say how long to train; give one of them")
        self._begun = begun_choices(out) if resume else {}
        self._precision = self._begun.get("precision", "auto") if arguments.precision == "auto" else arguments.precision
        self.accelerator = make_accelerator(self._precision, log_dir=out / "logs")
        self.chief = self.accelerator.is_main_process
        self.cache = cache_folder(arguments.cache)
        # A head has the size of the published weights, which says nothing about the photographs.
        begun_size = self._begun.get("image_size") if self._begun.get("train", "all") == "all" else None
        self.data = open_data(
            arguments.data,
            known_classes=arguments.known_classes,
            image_size=begun_size or arguments.image_size,
            holdout=arguments.holdout,
            test_share=arguments.test_share,
            near_duplicates=arguments.near_duplicates,
            accept=arguments.accept,
            min_images=arguments.min_images,
            cache=self.cache,
            image_bar=image_bar if self.chief else None,
            workers=workers,
        )
        # Processes may not all have the same weights available, so the first process chooses and the others follow.
        self.model = from_first_process(self._choose_model, self.accelerator)
        method = METHODS.get(arguments.method, Method)
        self.what: str = self._begun.get("train") or choose_training(
            arguments.train,
            self.model,
            method,
            budget=self.seconds is not None,
            # Backgrounds as outliers come from the maps of a training of all weights.
            epochs=arguments.epochs is not None or (arguments.outliers == "backgrounds" and method.uses_outliers),
            augmentation=arguments.augmentation,
        )
        self.image_size = self.data.image_size
        if self.what != "all" and arguments.image_size is None:
            self.image_size = self._begun.get("image_size") or self.model.image_size or self.image_size
        if self.what == "head" and arguments.precision == "auto" and self.accelerator.device.type == "cpu":
            self._precision = "fp32"  # The fastest engine on a CPU computes in float32.
        self._image_bar = image_bar if self.chief else None
        self.accept = ACCEPT if arguments.accept is None else arguments.accept
        self.classifier = self._make_classifier(self.image_size)
        self.known = self.classifier.labels_for(self.data.source)
        self.held = count_held_out(self.data, self.classifier, self.known, arguments.seed)
        self.accept = self.classifier.accept = choose_accept(arguments.accept, self.held)
        self.balance = is_uneven(self.known) if arguments.balance is None else arguments.balance
        self.options = self._options_for(self._begun.get("epochs") or arguments.epochs)
        self.outliers = load_outliers(arguments.outliers, self.data.classes)
        make_folder(out)
        if self.what != "head":  # Features are found by the content of images, and no weights of a head are kept.
            masks = self._augmentation_options().get("foreground") == "masks"
            keep_images(out, self.data, masks=masks, write=self.chief, workers=workers)
        self._record(self.options)
        if self.what != "head":  # A head has no epochs to log.
            begin_log(self.accelerator)
        self.leaked: list[str] = []
        self.quicker: str | None = None
        self.expected: float | None = None
        shown = None if isinstance(self.outliers, str) else self.outliers
        if shown is not None and self.classifier.network.head.uses_outliers:
            self.leaked = shown_unknowns(shown, arguments.data, self.data.source, self.data.classes)

    def train(
        self,
        *,
        on_start: Callable[[TrainOptions, Split, list[tuple[str, str]]], None],
        on_frozen: Callable[[FrozenFeatures, Split, int], None],
        on_short: Callable[[float, float], None],
        on_step: Callable[[Progress], None],
        on_epoch: Callable[[EpochReport], None],
    ) -> FitReport:
        """Train and calibrate the classifier.

        Args:
            on_start: A function that is called before training with the options, the split and the unreadable images.
            on_frozen: A function that is called instead if the head is trained, with what computes the features, the
                split and the number of images.
            on_short: A function that is called with the seconds of an epoch and the seconds left, if they are too few
                for `LEAST_EPOCHS` epochs and a person chose both the network and the size of the images.
            on_step: See `backmix.train.train`.
            on_epoch: See `backmix.train.train`.
        """

        def begin(options: TrainOptions, split: Split, skipped: list[tuple[str, str]]) -> None:
            self._record(options)
            on_start(options, split, skipped)

        arguments, data = self.arguments, self.data
        if self.what == "auto":  # Else all weights would be refused only when the head is trained.
            tuned, asked = self._make_classifier(data.image_size), choose_estimator(self._augmentation_options())[1]
            check_names(tuned, arguments.augmentation, asked, self.outliers)
        options: dict[str, Any] = {
            "options": self.options,
            "augmentation": arguments.augmentation,
            "augmentation_options": self._augmentation_options(),
            "outliers": self.outliers,
            "held_out": data.held_out,
            "groups": data.groups,
            "choose": self._chooses_score,
            "balance": self.balance,
            "workers": self.workers,
            "accelerator": self.accelerator,
            "plan": None if self._begun.get("epochs") else partial(self._plan, on_short),
            "checkpoint": self.out / CHECKPOINT,
            "resume": self.resume,
            "on_start": begin,
            "on_step": on_step,
            "on_epoch": on_epoch,
        }
        report = self._train_all(options) if self.what == "all" else self._train_head(on_frozen)
        if self.what == "auto":
            report = self._train_all_too(report, options)
        keep_in_reach(self.classifier)
        end_log(self.accelerator)
        return report

    def _train_all(self, options: dict[str, Any]) -> FitReport:
        """Train all weights, of a smaller network or on smaller images where the time buys too few epochs."""
        options |= {"holdout": self.data.holdout, "test_share": self.data.test_share}
        try:
            return fit(self.classifier, self.data.source, **options)
        except TooSlow as slow:
            found = self._quicker(slow.times)
            assert found is not None
            model, size = found
            before = f"{self.model.model} at {self.image_size} px"
            self.quicker = f"{slow} of {self.arguments.budget}, so {model} at {size} px takes the place of {before}"
            self.model, self.image_size = replace(self.model, model=model), size
            self.data = replace(self.data, image_size=size)
        self.classifier = self._make_classifier(self.image_size)
        self.options = self._options_for(None)
        return fit(self.classifier, self.data.source, **{**options, "options": self.options})

    def _quicker(self, times: float = 1.0) -> tuple[str, int] | None:
        arguments = self.arguments
        free = {"free_model": arguments.model is None, "free_size": arguments.image_size is None}
        return quicker(self.model.model, self.image_size, times, **free)

    @property
    def _chooses_score(self) -> bool:
        """Whether the unknown score of a network that started from published weights is chosen after the training."""
        return self.arguments.detector is None and self.arguments.method == "softmax" and self.model.pretrained

    def _train_all_too(self, report: FitReport, options: dict[str, Any]) -> FitReport:
        """Train all weights in the time that is left, and keep the better classifier."""
        assert self.seconds is not None
        left = self.seconds - (time.monotonic() - self.begin)
        if not from_first_process(lambda: left >= LEAST_SECONDS, self.accelerator):
            why = f"only {max(0.0, left):.0f} s were left of {self.arguments.budget}"
            self.what = "head"
            self._record(self.options)
            return replace(report, comparison=Comparison("head", report.held_out_accuracy, None, 0, why))
        frozen = self.classifier
        # Training at the size of the photographs takes less time than at that of the published weights.
        tuned = self._make_classifier(self.data.image_size)
        try:
            self.classifier, report = fine_tune(
                frozen, tuned, self.data.source, report, cache=self.cache, seed=self.arguments.seed, **options
            )
        except TooSlow as slow:
            self.what = "head"
            self._record(self.options)
            why = f"{slow} of {self.arguments.budget}, too little for {LEAST_EPOCHS} epochs of all weights"
            return replace(report, comparison=Comparison("head", report.held_out_accuracy, None, 0, why))
        self.what = "all" if self.classifier is tuned else "head"
        self.image_size = self.classifier.preprocess.image_size
        self._record(self.options)
        return report

    def _train_head(self, on_frozen: Callable[[FrozenFeatures, Split, int], None]) -> FitReport:
        arguments, data = self.arguments, self.data
        outliers = self.outliers if self.classifier.network.head.uses_outliers else None
        if isinstance(outliers, str):
            raise ValueError("--outliers backgrounds are made while all weights are trained: take --train all, or DATA")
        return fit_frozen(
            self.classifier.to(self.accelerator.device),
            data.source,
            cache=self.cache,
            detector=arguments.detector,
            augmentation=arguments.augmentation,
            augmentation_options=self._augmentation_options(),
            views=arguments.views,
            outliers=outliers,
            held_out=data.held_out,
            holdout=data.holdout,
            test_share=data.test_share,
            groups=data.groups,
            balance=self.balance,
            seed=arguments.seed,
            workers=self.workers,
            image_bar=self._image_bar,
            on_start=on_frozen,
        )

    @property
    def weights_from(self) -> str | None:
        """Where the published weights came from, in words; None if the training began with random weights."""
        found: str | None = getattr(self.classifier.network.backbone, "weights_from", None)
        return found

    def held_out(self, split: Split) -> Shares:
        """Return the names of the images that the training held out, so that they can be found again."""
        return held_out_shares(self.arguments.data, self.data, split, self.known)

    def write(self, report: FitReport, shares: Shares) -> tuple[dict[str, Any] | None, list[tuple[str, str]]]:
        """Test the classifier on the images that are kept for a test, and write the run.

        Args:
            report: The result of the training.
            shares: The images that it held out.

        Returns:
            The figures of the test (None if no images are kept for it), and the (name, reason) of all unreadable
            images.
        """
        save_run(self.classifier, self.out, extra=self.recorded)
        test = test_figures(self.classifier, shares, self.workers)
        skipped = report.skipped + [(entry["path"], entry["reason"]) for entry in (test or {}).get("unreadable", [])]
        write_json(
            self.out / "metrics.json",
            run_metrics(report, test, self.classifier, seconds=time.monotonic() - self.begin, unreadable=skipped),
        )
        data, chosen, detector = self.data, self.recorded["chosen"], self.classifier.detector
        text = as_config(self.arguments, data, self.options, balance=self.balance, detector=detector, chosen=chosen)
        write_text(self.out / "fit.yaml", text)
        return test, skipped

    def _augmentation_options(self) -> dict[str, Any]:
        patch = {} if self.arguments.patch_side is None else {"patch_side": self.arguments.patch_side}
        return {**self.arguments.augmentation_options, **patch}

    def _choose_model(self) -> ModelChoice:
        accelerator = self.accelerator.device.type != "cpu"
        return choose_model_for(self.arguments, self._begun, self.data.image_size, accelerator=accelerator)

    def _make_classifier(self, image_size: int) -> Decider:
        arguments = self.arguments
        smoothing = {"label_smoothing": arguments.label_smoothing} if arguments.label_smoothing else {}
        return Decider(
            self.data.classes,
            model=self.model.model,
            method=arguments.method,
            image_size=image_size,
            detector=arguments.detector,
            accept=self.accept,
            pretrained=self.model.pretrained,
            precision=self._precision,
            seed=arguments.seed,
            method_options={**arguments.method_options, **smoothing},
            value_ranges=self.data.ranges,
            decoding=self._begun.get("decoding"),
        )

    def _options_for(self, epochs: int | None) -> TrainOptions:
        return auto_options(
            int((self.known >= 0).sum()),
            model=self.model.model,
            pretrained=self.model.pretrained,
            epochs=epochs,
            batch_size=self.arguments.batch_size,
            lr=self.arguments.lr,
            seed=self.arguments.seed,
            precision=self._precision,
        )

    def _plan(
        self, on_short: Callable[[float, float], None], measure: Callable[..., float], options: TrainOptions
    ) -> TrainOptions:
        """Return options with as many epochs as fit into the rest of the budget; without one, measure the time.

        Raises:
            TooSlow: If these are fewer than `LEAST_EPOCHS`, and something quicker can take the place of this training.
        """
        if self.seconds is None:
            images = int((self.known >= 0).sum())
            self.expected = seconds_of(measure, options, images)
            return options
        # All weights after a head can be left alone.
        alternative = self.what == "auto" or (self.quicker is None and self._quicker() is not None)
        epochs, begin, budget = options.epochs, self.begin, self.seconds
        measured = measure(options, seconds=min(10.0, budget / 20))
        found = from_first_process(lambda: (measured, budget - (time.monotonic() - begin)), self.accelerator)
        epochs = affordable(*found, epochs, alternative=alternative, on_short=on_short)
        self._record(self._options_for(epochs))
        return self.options

    def _record(self, options: TrainOptions) -> None:
        """Keep the options, and write them into the folder unless it holds a finished run."""
        self.options = options
        chosen = {
            "model": self.model.model,
            "pretrained": self.model.pretrained,
            "weights": self.weights_from,
            "image_size": self.image_size,
            "decoding": self.classifier.preprocess.decoding,
            "train": self.what,
        }
        training = asdict(options)
        if self.what == "head":  # No epoch and no rate had a part in it.
            training = {"trained": "head", "seed": options.seed, "precision": options.precision}
        self.recorded = {"arguments": asdict(self.arguments), "chosen": chosen, "training": training}
        config = self.out / "config.yaml"
        if self.chief and "files" not in (read_config(self.out) if config.is_file() else {}):
            write_text(config, as_yaml({"format": FORMAT, "backmix": __version__, **self.recorded}))
