"""The work of `backmix fit`: train, calibrate and test a classifier, write a run folder, and print a summary."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from backmix.cli.console import image_bar, make_console, training_bar
from backmix.cli.fit_words import (
    comparison_in_words,
    frozen_in_words,
    head_in_words,
    result_in_words,
    start_in_words,
    without_effect,
)
from backmix.cli.stop_signals import advice_when_stopped
from backmix.data.split import Split
from backmix.detectors.fitting import cautions
from backmix.errors import some_of
from backmix.files import locked, nothing_left_of_a_refusal
from backmix.fit.arguments import FitArguments
from backmix.fit.begun import CHECKPOINT
from backmix.fit.data import notes, outlier_notes, write_seen_images
from backmix.fit.data_checks import untested_classes
from backmix.fit.first_process import is_first_process
from backmix.fit.fit_report import FitReport
from backmix.fit.run_metrics import verdict_of
from backmix.fit.session import FitSession
from backmix.inference.frozen import FrozenFeatures
from backmix.runs.advice import advice
from backmix.runs.held_out import write_shares
from backmix.runs.refused import refused_in_words
from backmix.train.recipe import TrainOptions


def fit_command(arguments: FitArguments, out: Path, *, resume: bool = False, workers: int = 2) -> FitReport:
    """Train, calibrate, test and write a run folder.

    Args:
        arguments: The arguments of the command.
        out: The run folder.
        resume: Whether to continue the run in the folder. If there is no run yet, a new one begins.
        workers: The number of threads or processes that decode images.

    Returns:
        The report of the training.

    Raises:
        RunError: If the folder holds another run or other files, or if options have changed.
    """
    with ExitStack() as stack:
        if is_first_process():  # The first of several processes is the one that writes.
            if not out.is_file():  # What stands there is named by `check_out`.
                stack.enter_context(locked(out))
            stack.enter_context(nothing_left_of_a_refusal(out, (out / CHECKPOINT).is_file))
        stack.enter_context(advice_when_stopped(partial(_how_to_go_on, out)))
        return _fit(arguments, out, resume, workers)


def _fit(arguments: FitArguments, out: Path, resume: bool, workers: int) -> FitReport:
    console = make_console()
    session = FitSession(arguments, out, resume=resume, workers=workers, image_bar=partial(image_bar, console))
    listed = 0

    def warn(line: str) -> None:
        if session.chief:
            console.print(line, style="yellow")

    def list_skipped(skipped: list[tuple[str, str]]) -> None:
        nonlocal listed
        for name, reason in skipped[listed:]:
            warn(f"skipped {name}: {reason}")
        listed = len(skipped)

    def warn_of_data(split: Split) -> None:
        untested = untested_classes(session.known, session.data.classes, split, session.data.groups)
        for note in [*notes(session.data), *untested, *outlier_notes(session.outliers)]:
            warn(note)
        if session.leaked:
            shown = some_of(session.leaked)
            warn(f"outliers show {shown}, which DATA has too: a test that calls these unknown is no test")

    def on_short(epoch_seconds: float, left: float) -> None:
        longer = "it will take longer" if epoch_seconds > left else "these are few to learn from"
        warn(
            f"one epoch takes about {epoch_seconds:.0f} s, and {max(0.0, left):.0f} s are left of "
            f"{arguments.budget}: {longer}. A smaller --image-size or --model compact-s is quicker."
        )

    def on_start(options: TrainOptions, split: Split, skipped: list[tuple[str, str]]) -> None:
        for line in start_in_words(session, options, split) if session.chief else []:
            console.print(line)
        warn_of_data(split)
        list_skipped(skipped)

    def on_frozen(frozen: FrozenFeatures, split: Split, images: int) -> None:
        for line in frozen_in_words(session, frozen, split, images) if session.chief else []:
            console.print(line)
        if unused := without_effect(session):
            warn(f"without effect, because only the head is trained: {some_of(unused)}. Take --train all")
        warn_of_data(split)

    with training_bar(console, session.chief, session.accelerator) as (on_step, on_epoch):
        report = session.train(
            on_start=on_start, on_frozen=on_frozen, on_short=on_short, on_step=on_step, on_epoch=on_epoch
        )
    list_skipped(report.skipped)
    if session.chief:
        shares = session.held_out(report.split)
        write_shares(out, shares)
        write_seen_images(out, session.data, report.split, session.classifier.labels_for, workers)
        test, skipped = session.write(report, shares)
        if test is None and shares.test.images != []:
            warn("the images kept for a test cannot be used any more; backmix report RUN says why")
        list_skipped(skipped)
        if session.classifier.accept != session.accept:
            held = len(session.classifier.thresholds[session.classifier.detector].scores)
            warn(
                f"some held-out photos cannot be read: the {held} others allow to accept {session.classifier.accept:g}"
            )
        if report.comparison is not None:
            console.print(comparison_in_words(report.comparison))
        for line in head_in_words(report.head) if report.head is not None else []:
            console.print(line)
        if session.classifier.frozen and (note := session.classifier.frozen_features.cache.note):
            warn(note)
        for caution in cautions([session.classifier.detector], session.classifier.ready_detector).values():
            warn(caution)
        used = {"images": {"train": len(report.split.train)}}
        for line in advice(verdict_of(report, test), session.recorded, used, len(session.data.classes)):
            console.print(line, style="bold red")
        console.print(f"accuracy on held-out images {report.held_out_accuracy:.3f}")
        for line in result_in_words(test, session.classifier):
            console.print(line)
        if not test or not test["images"]["unknown"]:
            found = {"head": report.head and report.head.to_dict()}
            console.print(refused_in_words(found, session.classifier.detector, session.classifier.accept))
        console.print(f"{time.monotonic() - session.begin:.0f} s; written to {out}")
    return report


def _how_to_go_on(out: Path) -> str:
    if (out / CHECKPOINT).is_file():
        return f"every epoch that was finished is kept in {out}; the same command with --resume goes on"
    if (out / "config.yaml").is_file():
        return f"no epoch was finished; the same command with --resume begins again in {out}"
    return ""
