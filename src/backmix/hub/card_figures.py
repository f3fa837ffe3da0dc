"""The sections on figures and threshold in the card of a shared run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backmix.hub.card_words import count, number, percent
from backmix.metrics.chance import accepted_by_chance, accepted_in_the_long_run
from backmix.runs.refused import refused_in_words

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from backmix.classifier import OpenSetClassifier
    from backmix.threshold.conformal import ConformalThreshold

FIGURES = (
    ("auroc", "AUROC", "chance that an unknown image has a higher unknown score than a known one"),
    ("oscr", "OSCR", "the same, where known images count only when their class is right"),
    ("fpr95", "FPR95", "unknown images taken for known when 95 % of known ones are accepted"),
    ("accepted_known", "accepted", "known images that the threshold accepts"),
    ("rejected_unknown", "rejected", "unknown images that the threshold calls unknown"),
)
OF_THRESHOLD = ("accepted_known", "rejected_unknown")


def figures_section(
    classifier: OpenSetClassifier,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None,
) -> str:
    """Write the section on figures: how well the classifier does, on which images, and what was not measured.

    Args:
        classifier: The classifier that is shared.
        config: The content of the run's config.yaml.
        metrics: The content of the run's metrics.json.
        evaluation: The figures on a test set. None: The figures of the run's own test in `metrics`.
    """
    parts = ["## Figures"]
    figures = chosen_figures(metrics, evaluation)
    accuracy = number(metrics.get("held_out_accuracy"))
    if figures is not None:
        by_fit = evaluation is None
        current = not by_fit or _is_threshold_of_fit(classifier, config, metrics)
        parts += _measured(classifier, figures, by_fit=by_fit, current=current)
    elif accuracy is not None:
        parts.append(
            f"Of known images held out from training to fit a threshold on, {percent(accuracy)} are given the right "
            "class when none is rejected. No test on other images, and none on unknown ones, is told here: how well it "
            "tells unknown images apart is not known."
        )
    else:
        parts.append("None were given. Measure it on images of your own before you rely on it.")
    return "\n\n".join(parts)


def chosen_figures(metrics: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the figures for the card: `evaluation`, or else the figures of the run's own test; None without either."""
    own = metrics.get("test")
    return evaluation if evaluation is not None else own if isinstance(own, Mapping) else None


def eval_results(
    detector: str, data: object, metrics: Mapping[str, Any], evaluation: Mapping[str, Any] | None
) -> list[EvalResult]:
    """Return accuracy and AUROC, if they were measured, in the form that the hub shows beside a model.

    Args:
        detector: The detector whose unknown score decides.
        data: The name of the data of the run's own test; None if the name must not be shared.
        metrics: The content of the run's metrics.json.
        evaluation: The figures on another test set. None: The figures of the run's own test in `metrics`.
    """
    from huggingface_hub import EvalResult  # It is slow to import, and only this function needs it.

    figures = chosen_figures(metrics, evaluation) or {}
    entries = figures.get("detectors")
    entry = entries.get(detector) if isinstance(entries, Mapping) else None
    found = {
        ("accuracy", "accuracy"): number(figures.get("accuracy")),
        ("roc_auc", "AUROC, unknown against known"): number(entry.get("auroc")) if isinstance(entry, Mapping) else None,
    }
    neutral = "held-out images" if evaluation is None else "test images"
    name = neutral if evaluation is not None or data is None else str(data)
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type="custom" if name == neutral else name.removeprefix("hub:").partition(":")[0],
            dataset_name=name,
            metric_type=kind,
            metric_name=label,
            metric_value=value,
        )
        for (kind, label), value in found.items()
        if value is not None
    ]


def _measured(classifier: OpenSetClassifier, figures: Mapping[str, Any], *, by_fit: bool, current: bool) -> list[str]:
    images = figures.get("images")
    counts = images if isinstance(images, Mapping) else {}
    known, unknown = (count(counts.get(key)) for key in ("known", "unknown"))
    how = "a test set chosen by whoever shared it, with `backmix evaluate`"
    if by_fit:
        how = "kept apart when it was trained: the network did not see them" + (", nor did the threshold" * current)
    entries = figures.get("detectors")
    entry = entries.get(classifier.detector) if isinstance(entries, Mapping) else None
    rows = [("accuracy", "known images given the right class when none is rejected", number(figures.get("accuracy")))]
    if isinstance(entry, Mapping):
        rows += [
            (name, meaning, number(entry.get(key)))
            for key, name, meaning in FIGURES
            if current or key not in OF_THRESHOLD
        ]
    table = [f"| {name} | {percent(value)} | {meaning} |" for name, meaning, value in rows if value is not None]
    parts = [
        f"Measured on {known} images of the known classes and {unknown} of other classes, {how}. The unknown score is "
        f"`{classifier.detector}`.",
        "\n".join(["| figure | value | meaning |", "| --- | ---: | --- |", *table]) if table else "No figure is given.",
    ]
    held = classifier.thresholds.get(classifier.detector)
    if not current:
        parts.append("The threshold was fitted anew since then, so what it does with these images is not known.")
    elif held is not None and held.note is None and not classifier.per_class and known:
        low, high = accepted_by_chance(len(held.scores), held.accept_share, known)
        parts.append(
            f"If the promise of {percent(classifier.accept)} below is kept, then 95 times of 100 a test on {known} "
            f"known images finds between {percent(low)} and {percent(high)} of them accepted, by chance alone."
        )
    if unknown == 0:
        parts.append("No unknown image was tested: how well it tells them apart is not known.")
    return parts


def _is_threshold_of_fit(classifier: OpenSetClassifier, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> bool:
    """Return whether the threshold is the one that `fit` tested.

    `backmix calibrate` may have fitted another one since.
    """
    arguments, images = config.get("arguments"), metrics.get("images")
    held = classifier.thresholds.get(classifier.detector)
    if held is None or classifier.per_class or not isinstance(arguments, Mapping) or not isinstance(images, Mapping):
        return False
    # Runs of earlier versions do not tell the share in metrics.json.
    accept = metrics.get("accept", arguments.get("accept"))
    return accept == classifier.accept and images.get("held_out") == len(held.scores)


def threshold_section(
    classifier: OpenSetClassifier, chosen: Mapping[str, Any] | None = None, metrics: Mapping[str, Any] | None = None
) -> str:
    """Write the section on the threshold.

    It says what is promised about known images, how far a single threshold may be off, what example unknowns were used
    for, and how the unknown score was chosen without them.
    """
    held = classifier.thresholds.get(classifier.detector)
    if held is None:
        return "## Threshold\n\nNone: no known images were held out to fit it on."
    parts = [
        "## What the threshold promises",
        f"The threshold on the unknown score `{classifier.detector}` was fitted by split conformal prediction on "
        f"**{len(held.scores)} known images** that were not trained on. It is to accept "
        f"**{percent(classifier.accept)}** of new known images: **in expectation, at most the other "
        f"{percent(held.alpha)} of new known images are called unknown**, as long as these come from the same source "
        "as those held out.",
    ]
    if held.note is not None or not classifier.per_class:
        parts.append(spread_in_words(held))
    parts.append(refused_in_words(metrics or {}, classifier.detector, classifier.accept))
    if chosen:
        parts.append(
            f"{count(chosen.get('images'))} example images of no known class chose this unknown score among others. "
            "They did nothing else: the threshold was fitted on known images alone."
        )
    else:
        parts += _chosen_without_unknowns(classifier.detector, metrics or {})
    if classifier.per_class:
        own = sum(threshold is not None for threshold in classifier.class_thresholds)
        parts.append(
            f"{own} of {len(classifier.classes)} classes have a threshold of their own, and the promise holds within "
            "each; the others, which too few held-out images were taken for, share the one above."
        )
    return "\n\n".join(parts)


def _chosen_without_unknowns(detector: str, metrics: Mapping[str, Any]) -> list[str]:
    """Return a sentence on how leaving classes out chose the unknown score; none if it did not choose the one here."""
    head = metrics.get("head")
    found = head.get("unknown_score") if isinstance(head, Mapping) else None
    auroc = found.get("auroc") if isinstance(found, Mapping) and found.get("detector") == detector else None
    best = number(auroc.get(detector)) if isinstance(auroc, Mapping) else None
    usual = number(auroc.get("max_logit")) if isinstance(auroc, Mapping) else None
    if best is None:
        return []
    than = "" if usual is None or detector == "max_logit" else f", where `max_logit` did so in {percent(usual)}"
    return [
        f"This unknown score was chosen among others without any unknown image: with some known classes left out in "
        f"turn, it found an image of theirs stranger than another new image in {percent(best)} of pairs{than}. Only "
        "training images took part."
    ]


def spread_in_words(held: ConformalThreshold) -> str:
    """Describe how far a single threshold may be off, because the promise is an average over many thresholds."""
    if held.note is not None:
        return f"As it is, {held.note}"
    low, high = accepted_in_the_long_run(len(held.scores), held.accept_share)
    return (
        f"That is an average over many draws of held-out images. With {len(held.scores)} of them, nine draws of ten "
        f"give a threshold that accepts between {percent(low)} and {percent(high)} of new known images."
    )
