"""The work of `backmix calibrate`: fit the thresholds on held-out known images, and choose the detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from backmix.classifier import OpenSetClassifier
from backmix.cli.acceptance_words import acceptance
from backmix.cli.console import make_console
from backmix.cli.data_words import data_notes, seen_notes
from backmix.cli.fit_words import accepted_in_words
from backmix.data.load import absolute, calibration_split, load_source
from backmix.detectors import METHOD, OURS, check_name
from backmix.detectors.fitting import cautions
from backmix.errors import DataError, RunError
from backmix.files import locked
from backmix.inference.choose_detector import choose_detector
from backmix.inference.evaluation import Outputs
from backmix.metrics.acceptance import SHARES, acceptance_table
from backmix.pages.words import hundredths, plain_percent
from backmix.runs.advice import read_metrics
from backmix.runs.folder import load_run, read_config, save_calibration
from backmix.runs.held_out import Shares, open_share, read_shares
from backmix.runs.refused import estimates, refused_in_words
from backmix.runs.seen import find_seen
from backmix.threshold.by_class import decide
from backmix.threshold.conformal import min_held_out, most_accepted


def calibrate_command(
    run: Path,
    data: str | None = None,
    *,
    split: str | None = None,
    accept: float | None = None,
    per_class: bool | None = None,
    detectors: Sequence[str] | None = None,
    unknown: str | None = None,
    moved: str | None = None,
    workers: int = 2,
) -> OpenSetClassifier:
    """Fit the thresholds of a run again, and write them into it.

    Args:
        run: The run folder.
        data: Known images that were not trained on; None: the images that the run held out for calibration.
        split: The split of `data`; None: val if there is one, else test, else all images.
        accept: The share of known images to accept; None: the share stays as it is.
        per_class: Whether each class has its own threshold; None: this stays as it is.
        detectors: The detector that decides, or with `unknown` the detectors to choose from.
        unknown: Example images of no known class. They are used only to choose among the detectors.
        moved: Where the data of the run lies now; None: where it lay when the run was trained.
        workers: The number of threads that decode images.

    Returns:
        The classifier as it is now in the folder.

    Raises:
        RunError, DataError: If the run or the images cannot be used.
        ValueError: If several detectors are given without `unknown`, or if a name does not exist.
    """
    for name in detectors or ():
        check_name(name)
    if detectors and len(detectors) > 1 and unknown is None:
        raise ValueError(
            f"one detector decides; got {', '.join(detectors)}. Give one, or example unknowns to choose by (--unknown)"
        )
    console = make_console()
    read_config(run)  # It says so if there is no run to lock.
    with locked(run):
        classifier = load_run(run, calibrated=False, kind=OpenSetClassifier)
        return _calibrate(console, classifier, run, data, split, accept, per_class, detectors, unknown, moved, workers)


def _calibrate(
    console: Console,
    classifier: OpenSetClassifier,
    run: Path,
    data: str | None,
    split: str | None,
    accept: float | None,
    per_class: bool | None,
    detectors: Sequence[str] | None,
    unknown: str | None,
    moved: str | None,
    workers: int,
) -> OpenSetClassifier:
    shares = _shares(run, moved)
    if data is None:
        own = read_shares(run, moved)
        source, where = open_share(own, own.calibration), "held out by the run"
    else:
        split = split or calibration_split(data)
        source, where = load_source(data, split, few=True), f"of {data}"
        known_rows = (classifier.labels_for(source) >= 0).nonzero().flatten()
        seen = find_seen(run, source, known_rows, data, split, workers=workers)
        for note in [*data_notes(source, classifier.classes), *seen_notes(seen, "calibrate")]:
            console.print(note, style="yellow")
    chosen: dict[str, Any] = {}
    if unknown is None:
        if detectors:
            classifier.detector = detectors[0]
    else:
        names = list(detectors or dict.fromkeys([classifier.detector, METHOD, *OURS]))
        examples = load_source(unknown, few=True)
        for note in data_notes(examples, classifier.classes):
            console.print(note, style="yellow")
        if known := int((classifier.labels_for(examples) >= 0).sum()):
            console.print(f"{known} images of {unknown} are left out: they are of known classes", style="yellow")
        chosen = choose_detector(classifier, source, examples, names, workers=workers)
        classifier.detector = chosen["detector"]
        _show_choice(console, chosen, unknown)
        chosen["unknown"] = absolute(unknown)
    outputs = classifier.calibrate(source, accept=accept, per_class=per_class, workers=workers)
    for name, reason in outputs.skipped:
        console.print(f"skipped {name}: {reason}", style="yellow")
    threshold = classifier.thresholds[classifier.detector]
    check_reach(classifier, where)
    save_calibration(classifier, run, extra={"chosen": chosen} if chosen else None)
    console.print(
        f"{len(threshold.scores)} known images {where}; {classifier.detector} decides: above a score of "
        f"{threshold.threshold:.4g} an image is unknown, which accepts {classifier.accept:.1%} of known images or more"
    )
    for caution in cautions([classifier.detector], classifier.ready_detector).values():
        console.print(caution, style="yellow")
    tested = _test(classifier, shares, console, workers)
    _show_cost(console, classifier, tested, run)
    own_test = None if tested is None else (tested[0][tested[2]], tested[1][tested[2]])
    console.print(class_table(classifier, outputs, own_test))
    fewest = min_held_out(classifier.accept)
    lacking = [
        name for name, own_one in zip(classifier.classes, classifier.class_thresholds, strict=True) if own_one is None
    ]
    if classifier.per_class and lacking:
        console.print(
            f"the threshold for all classes stands in where fewer than {fewest} held-out images are taken for a class: "
            + ", ".join(lacking),
            style="yellow",
        )
    console.print(
        "each class decides by its own threshold" if classifier.per_class else "one threshold decides for all"
    )
    return classifier


def check_reach(classifier: OpenSetClassifier, where: str) -> None:
    """Raise DataError if the held-out images are too few for the share to accept, so that none would be unknown.

    Args:
        classifier: The calibrated classifier.
        where: Which images they are, in words.
    """
    held_out, needed = len(classifier.thresholds[classifier.detector].scores), min_held_out(classifier.accept)
    if held_out < needed:
        most = most_accepted(held_out)
        raise DataError(
            f"--accept {classifier.accept:g} takes {needed} known photos that were not trained on, and there are "
            f"{held_out} {where}: nothing would ever be called unknown, so nothing was saved. The most that these "
            f"allow is --accept {most:g}. More photos allow more: backmix calibrate RUN DATA"
        )


def class_table(classifier: OpenSetClassifier, held_out: Outputs, tested: tuple[Tensor, Tensor] | None) -> Table:
    """Return a table with a row for each class: its held-out images, its threshold, and the shares it accepts.

    An image belongs to the class that it is taken for. The shares are of test images, under the threshold for all
    classes and under the threshold of the class.

    Args:
        classifier: The calibrated classifier.
        held_out: The outputs of the network for the images of the calibration.
        tested: The scores and the likeliest classes of other known images, (N,) each; None: there are no such images.
    """
    table = Table(title="by the class that an image is taken for")
    table.add_column("class", overflow="fold")
    heads = ["held out", "threshold"]
    heads += ["test images", "accepted by one", "accepted by its own"] if tested else []
    for head in heads:
        table.add_column(head, justify="right")
    predicted = held_out.logits.argmax(1)
    overall = classifier.thresholds[classifier.detector]
    if tested:
        by_one = decide(tested[0], tested[1], overall)[0]
        by_own = decide(tested[0], tested[1], overall, classifier.class_thresholds)[0]
    for number, name in enumerate(classifier.classes):
        own = classifier.class_thresholds[number]
        cells = [str(int((predicted == number).sum())), "-" if own is None else f"{own.threshold:.4g}"]
        if tested:
            rows = tested[1] == number
            count = int(rows.sum())
            shares = [_share(by_one[rows]), _share(by_own[rows]) if own is not None else "-"]
            cells += [str(count), *shares]
        table.add_row(name, *cells)
    return table


def _test(
    classifier: OpenSetClassifier, shares: Shares | None, console: Console, workers: int
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Print the shares accepted and refused of the run's test images.

    Returns:
        Their scores, their likeliest classes, and whether each is of a known class; None without known ones.
    """
    if shares is None:
        return None
    try:
        source = open_share(shares, shares.test)
    except DataError as error:
        console.print(f"not tested: {error}", style="yellow")
        return None
    if not bool((classifier.labels_for(source) >= 0).any()):
        return None
    outputs, scores, _ = classifier.scores(source, [classifier.detector], workers=workers)
    known, predicted, of = outputs.labels >= 0, outputs.logits.argmax(1), scores[classifier.detector]
    accepted = classifier.decide(of, predicted)[0]
    if known.any():
        console.print(
            f"on {int(known.sum())} test images of known classes it accepts "
            + accepted_in_words(float(accepted[known].float().mean()), int(known.sum()), classifier)
        )
    if not known.all():
        share = plain_percent(float((~accepted[~known]).float().mean()))
        console.print(f"of {int((~known).sum())} test images of other things it refuses {share}")
    return of, predicted, known


def _show_cost(
    console: Console, classifier: OpenSetClassifier, tested: tuple[Tensor, Tensor, Tensor] | None, run: Path
) -> None:
    """Print what several shares to accept cost: the strangers refused, as tested or as estimated by the training."""
    metrics, held = read_metrics(run), classifier.thresholds[classifier.detector].scores
    known, unknown = (held[:0], held[:0]) if tested is None else (tested[0][tested[2]], tested[0][~tested[2]])
    rows = [asdict(row) for row in acceptance_table(held, known, unknown, {*SHARES, classifier.accept})]
    console.print(acceptance(rows, classifier.accept, estimates(metrics, classifier.detector)))
    if not len(unknown):
        console.print(refused_in_words(metrics, classifier.detector, classifier.accept))


def _shares(run: Path, moved: str | None) -> Shares | None:
    try:
        return read_shares(run, moved)
    except RunError:
        return None


def _show_choice(console: Console, chosen: dict[str, Any], unknown: str) -> None:
    figures = ", ".join(f"{name} {hundredths(value)}" for name, value in chosen["auroc"].items())
    console.print(
        f"AUROC on {chosen['images']} example unknowns of {unknown}: {figures}. {chosen['detector']} is chosen; the "
        "examples do nothing else, and the threshold comes from known images alone."
    )
    for reason in chosen["left_out"].values():
        console.print(f"left out: {reason}", style="yellow")


def _share(accepted: Tensor) -> str:
    return plain_percent(float(accepted.float().mean())) if len(accepted) else "-"
