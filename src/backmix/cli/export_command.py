"""The work of `backmix export`: write a run as one file that answers without backmix."""

from __future__ import annotations

from pathlib import Path

from backmix.classifier import OpenSetClassifier
from backmix.cli.console import make_console
from backmix.errors import RunError
from backmix.export.agreement import Agreement
from backmix.export.export import SUFFIXES, export
from backmix.export.trial_images import TrialImages, trial_images


def export_command(
    run: Path, *, form: str = "onnx", out: Path | None = None, moved: str | None = None, workers: int = 2
) -> Agreement:
    """Write a run into one file, compare the file with PyTorch, and print the result.

    Args:
        run: The run folder.
        form: "onnx" or "torchscript".
        out: The file to write; None: model.onnx or model.pt in the run folder.
        moved: Where the data of the run lies now; None: where it lay when the run was trained.
        workers: The number of threads that decode the images for the comparison.

    Returns:
        The result of the comparison.

    Raises:
        RunError: If the run cannot be read or exported, or if the file does not answer as PyTorch does.
        ValueError: If the file name belongs to another format.
    """
    path = check_out(run, form, out)
    classifier = OpenSetClassifier.load(run)
    console = make_console()
    note = classifier.thresholds[classifier.detector].note if classifier.detector in classifier.thresholds else None
    trial = trial_images(classifier, run, moved=moved, workers=workers)
    agreement = export(classifier, path, form=form, trial=trial)
    if note:
        console.print(note, style="yellow")
    if trial.reason:
        console.print(f"compared on made images alone: {trial.reason}", style="yellow")
    for line in in_words(agreement, trial):
        console.print(line)
    if classifier.precision == "bf16":
        console.print(
            "The file computes in float32, and the comparison is with PyTorch in float32. The run predicts, and was "
            "calibrated, in bf16: its own scores differ from those of the file by what bf16 rounds away."
        )
    console.print(
        f"{classifier.detector} decides, {'a threshold a class' if classifier.per_class else 'one threshold for all'}, "
        f"to accept {classifier.accept:.0%} of known images; {len(classifier.classes)} classes, "
        f"{classifier.preprocess.image_size} px"
    )
    console.print(f"written to {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return agreement


def check_out(run: Path, form: str, out: Path | None) -> Path:
    """Return the path of the file to write.

    Raises:
        RunError: If the path has the name of a training's checkpoint.
        ValueError: If the format does not exist, or if the path does not fit the format or is a folder.
    """
    if form not in SUFFIXES:
        raise ValueError(f"--format takes {' or '.join(SUFFIXES)}; got {form!r}")
    path = out or run / f"model{SUFFIXES[form]}"
    if path.suffix != SUFFIXES[form]:
        raise ValueError(f"--out of --format {form} takes a {SUFFIXES[form]} file; got {path}")
    if path.is_dir():
        raise ValueError(f"--out takes a file; {path} is a folder")
    if path.name == "checkpoint.pt":
        raise RunError(f"{path} is the name of a training's checkpoint. Choose another --out.")
    return path


def in_words(agreement: Agreement, trial: TrialImages) -> list[str]:
    """Return lines of text that say what was compared, and with what result."""
    made = len(trial.images) - trial.own
    images = f"{trial.own} images that the run held out and {made} made ones" if trial.own else f"{made} made images"
    same = agreement.same_decisions
    lines = [
        f"compared with PyTorch on {images}, in batches of {', '.join(map(str, agreement.batches))}: unknown scores "
        f"differ by at most {agreement.score:.2g}, logits by {agreement.logit:.2g}",
        f"the decision is the same on {same} of {agreement.images} ({agreement.unknown} of them unknown), the p-value "
        f"on {agreement.same_p_values}",
    ]
    if agreement.close:
        lines.append(
            f"so close to a threshold, or between two classes, that rounding may decide: {agreement.close} of them"
        )
    return lines
