"""Write the report of a run, one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from backmix.classifier import OpenSetClassifier
from backmix.files import write_text
from backmix.pages.glossary import GLOSSARY
from backmix.pages.render import render
from backmix.pages.short_names import roots, short_name
from backmix.report import plots, settings
from backmix.report.by_class import FEW, class_lines
from backmix.report.chosen_images import choose_images
from backmix.report.confusion import confusion_section
from backmix.report.galleries import make_galleries
from backmix.report.head_training import comparison, head_training
from backmix.report.mixed_samples import mixed_samples
from backmix.report.run_facts import RunFacts, read_facts
from backmix.report.score_choice import score_choice_section
from backmix.report.score_section import score_section
from backmix.report.summary import Summary, summarise
from backmix.report.tested import Tested, Thresholds, run_tests
from backmix.report.training_images import shares_of
from backmix.runs.folder import load_run
from backmix.version import __version__

FILE = "report.html"
MOST_LINES = 500  # The largest number of classes in the table; nobody reads a thousand lines.
MOST_UNREADABLE = 100
SECTIONS = {
    "summary": "Summary",
    "confusion": "What is taken for what",
    "scores": "Known or unknown",
    "choice": "How the unknown score was chosen",
    "classes": "Class by class",
    "pictures": "Where it goes wrong",
    "backmix": "What BackMix did",
    "training": "Training",
    "settings": "Settings and how to repeat this",
    "glossary": "What the words mean",
}


def write_report(
    run: str | Path,
    out: str | Path | None = None,
    *,
    data: str | None = None,
    split: str | None = None,
    unknown: str | None = None,
    unknown_split: str | None = None,
    moved: str | None = None,
    workers: int = 2,
    on_images: Callable[[int, int], object] | None = None,
) -> Path:
    """Test a run and write its report: one HTML file that loads nothing and runs no script.

    The test images are those that the run held out for testing, or those of `data`. Classes that the run does not know
    count as unknown. On the same machine, the same run and images give the same file, byte for byte.

    Args:
        run: The folder that `backmix fit` wrote.
        out: The file to write. If None, report.html in the folder of the run.
        data: The test images, as `backmix.data.load_source` takes them. If None, the images of the run.
        split: The split of `data`, or of the data of the run. If None, "test" if there is such a split.
        unknown: Further images, which all count as unknown. Images of classes that the run knows are left out.
        unknown_split: The split of `unknown`. If None, "test" if there is such a split.
        moved: Where the data of the run lies now. If None, where it lay when the run was trained.
        workers: The number of threads that decode images.
        on_images: A function that is called with the number of images tested so far and the number of all images.

    Returns:
        The file.

    Raises:
        RunError: If the folder is not a finished run. The report names everything else that is missing in the run.
        DataError: If images that were asked for cannot be opened, or if no image can be read.
        TrainingError: If the file cannot be written.
    """
    folder = Path(run)
    classifier = load_run(folder, kind=OpenSetClassifier)
    facts = read_facts(folder)
    asked = settings.Asked(data, split, unknown, unknown_split)
    chosen = choose_images(
        folder,
        classifier,
        facts.config,
        data=data,
        split=split,
        unknown=unknown,
        unknown_split=unknown_split,
        moved=moved,
    )
    tested = run_tests(classifier, chosen, workers=workers, on_images=on_images)
    thresholds = Thresholds.of(classifier)
    history = facts.history
    shares = shares_of(folder, moved)
    choice = score_choice_section(facts, thresholds)
    places = [data, unknown, facts.arguments.get("data"), shares.data if shares else None]
    page: dict[str, Any] = {
        "title": folder.resolve().name,
        "version": __version__,
        "sections": {key: title for key, title in SECTIONS.items() if key != "choice" or choice is not None},
        "classifier": classifier,
        "origin": chosen.origin,
        "missing": chosen.missing,
        "summary": Summary([]) if tested is None else summarise(tested, chosen, thresholds, facts),
        "confusion": None if tested is None else confusion_section(tested),
        "scores": None if tested is None else score_section(tested, thresholds),
        "lines": None if tested is None else class_lines(tested, thresholds),
        "most_lines": MOST_LINES,
        "few": FEW,
        "thresholds": thresholds,
        "galleries": None if tested is None else make_galleries(tested, classifier),
        "mixed": mixed_samples(facts, classifier, moved=moved),
        "choice": choice,
        "head": head_training(facts),
        "comparison": comparison(facts),
        "history": history,
        "no_history": facts.no_metrics or "metrics.json of the run tells no epochs.",
        "curves": training_curves(history),
        "options": settings.option_groups(facts, classifier, thresholds),
        "counts": settings.data_counts(facts, classifier, tested),
        "versions": settings.versions(facts),
        "commands": settings.commands(facts, thresholds, asked),
        "recipe": facts.recipe,
        "glossary": GLOSSARY,
        "unreadable": unreadable(facts, tested),
        "most_unreadable": MOST_UNREADABLE,
        "shorter": partial(short_name, roots=roots(places)),
    }
    file = folder / FILE if out is None else Path(out)
    write_text(file, render(page, "report"))
    return file


def training_curves(history: list[dict[str, float]]) -> list[tuple[str, Markup]]:
    """Return charts of the loss, the accuracy, the learning rate and, with BackMix, the share of images mixed.

    There are none if there are no epochs.
    """
    if not history:
        return []
    loss, accuracy, rate = ([entry[key] for entry in history] for key in ("loss", "accuracy", "lr"))
    curves = [
        ("Loss", plots.training_curve(loss, "loss", from_zero=False)),
        ("Accuracy", plots.training_curve(accuracy, "accuracy", shares=True)),
        ("Learning rate", plots.training_curve(rate, "learning rate")),
    ]
    mixed = [entry["mixed"] for entry in history if "mixed" in entry]
    if len(mixed) == len(history):
        curves.append(("Images mixed", plots.training_curve(mixed, "mixed", shares=True)))
    return curves


def unreadable(facts: RunFacts, tested: Tested | None) -> list[tuple[str, str, str]]:
    """Return (when, name, reason) of each image that could not be read, in training or in this test."""
    now = [] if tested is None else tested.unreadable
    return [("training", *entry) for entry in facts.unreadable] + [("test", *entry) for entry in now]
