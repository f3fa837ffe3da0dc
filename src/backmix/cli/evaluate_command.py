"""The work of `backmix evaluate`: measure a run on a test set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from backmix.classifier import OpenSetClassifier
from backmix.cli.acceptance_words import acceptance
from backmix.cli.console import image_bar, make_console
from backmix.cli.data_words import data_notes, seen_notes
from backmix.data.load import load_source, usual_split
from backmix.detectors import check_name
from backmix.errors import some_of
from backmix.files import write_json
from backmix.metrics.usefulness import Verdict
from backmix.pages.words import hundredths, plain_percent
from backmix.runs.advice import advice, read_metrics
from backmix.runs.fetch import run_folder
from backmix.runs.folder import read_config
from backmix.runs.refused import refused_in_words
from backmix.runs.seen import find_seen


def evaluate_command(
    run: Path,
    data: str,
    *,
    split: str | None = None,
    detectors: str | None = None,
    json_file: Path | None = None,
    workers: int = 2,
) -> dict[str, Any]:
    """Print the figures of a run on a test set, and write them into a file if one is given.

    Args:
        run: The run: a folder or `hub:owner/name`.
        data: The images to test on.
        split: The split of `data`; None: test if there is one.
        detectors: The detectors to show, separated by commas, or "all"; None: the detectors that need no further
            package, and the one that decides.
        json_file: The JSON file to write.
        workers: The number of threads that decode images.

    Returns:
        The figures, as the JSON file holds them.
    """
    names = [name.strip() for name in detectors.split(",")] if detectors else None
    for name in names or []:
        if name != "all":
            check_name(name)
    classifier = OpenSetClassifier.load(run)
    source = load_source(data, split or usual_split(data), few=True)
    console = make_console()
    with image_bar(console, len(source), "evaluating") as advance:
        result = classifier.evaluate(source, detectors=names, workers=workers, on_images=advance)
    folder = run_folder(run)
    config = read_config(folder)
    result["run"] = {
        "backmix": config["backmix"],
        "arguments": config.get("arguments"),
        "training": config.get("training"),
        "seconds": read_seconds(folder),
    }
    images = result["images"]
    for entry in result["unreadable"]:
        console.print(f"skipped {entry['path']}: {entry['reason']}", style="yellow")
    known = (classifier.labels_for(source) >= 0).nonzero().flatten()
    seen = find_seen(folder, source, known, data, split or usual_split(data), workers=workers)
    for note in [*data_notes(source, classifier.classes), *seen_notes(seen, "test")]:
        console.print(note, style="yellow")
    strange = source.labels[(classifier.labels_for(source) < 0) & (source.labels >= 0)]
    unknown = sorted(source.classes[k] for k in strange.unique().tolist())
    console.print(
        f"{images['known']} known images, {images['unknown']} unknown" + (f" ({some_of(unknown)})" if unknown else "")
    )
    verdict = Verdict.from_dict(result["verdict"])
    for line in advice(verdict, config, read_metrics(folder), len(classifier.classes)):
        console.print(line, style="bold red")
    if result["accuracy"] is None:
        console.print("No image of a known class: accuracy and AUROC cannot be given.")
    else:
        console.print(f"closed accuracy {plain_percent(result['accuracy'])}")
    table = Table("detector", title="percent")
    for head in ("AUROC", "OSCR", "FPR95", "AUPR in", "AUPR out", "accepted", "rejected"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, entry in result["detectors"].items():
        keys = ("auroc", "oscr", "fpr95", "aupr_in", "aupr_out", "accepted_known", "rejected_unknown")
        mark = "*" if name == classifier.detector else ""
        table.add_row(name + mark, *(hundredths(entry.get(k)) for k in keys))
    console.print(table)
    for caution in result["cautions"].values():
        console.print(caution, style="yellow")
    for reason in result["left_out"].values():
        console.print(f"left out: {reason}", style="yellow")
    if "acceptance" in result:
        console.print(acceptance(result["acceptance"], classifier.accept))
        if not images["unknown"]:
            console.print(refused_in_words(read_metrics(folder), classifier.detector, classifier.accept))
    console.print(
        f"accepted: of known images; rejected: of unknown ones; the threshold is to accept {classifier.accept:.0%} "
        "of known images. * decides."
    )
    if json_file is not None:
        write_json(json_file, result)
    return result


def read_seconds(run: Path) -> float | None:
    """Return the seconds that the training of a run took, or None if they are not recorded."""
    seconds: float | None = read_metrics(run).get("seconds")
    return seconds
