"""The sentences that `backmix fit` prints about its choices and its test."""

from __future__ import annotations

from typing import Any

from backmix.data.source import LARGEST_AUTO
from backmix.data.split import Split
from backmix.fit.acceptance import accept_in_words
from backmix.fit.fit_report import Comparison
from backmix.fit.head import HeadReport
from backmix.fit.leave_classes_out import ScoreChoice
from backmix.fit.quicker import time_in_words
from backmix.fit.session import FitSession
from backmix.inference.decider import Decider
from backmix.inference.frozen import FrozenFeatures
from backmix.metrics.chance import accepted_by_chance
from backmix.models import BACKBONES
from backmix.pages.words import plain_percent
from backmix.train.recipe import TrainOptions


def start_in_words(session: FitSession, options: TrainOptions, split: Split) -> list[str]:
    """Return lines that say what was chosen; they are printed before the training begins."""
    arguments, model = session.arguments, session.model
    lines = _images_in_words(session, split)
    budget = f" (as many as fit into {arguments.budget})" if arguments.budget else ""
    if arguments.model not in BACKBONES:  # The model was chosen automatically.
        lines.append(f"{model.model}: {model.why}")
    lines.append(
        f"{model.model} at {session.data.image_size} px, {arguments.method}, augmentation {arguments.augmentation}, "
        f"{options.epochs} epochs{budget} of batch {options.batch_size}, "
        f"{options.optimizer} with rate {options.lr:.3g}, {options.precision}"
    )
    if session.quicker is not None:
        lines.append(session.quicker)
    if session.expected is not None:
        lines.append(
            f"this takes about {time_in_words(session.expected)} on this machine; --budget 10m does what fits into that"
        )
    return lines


def frozen_in_words(session: FitSession, frozen: FrozenFeatures, split: Split, images: int) -> list[str]:
    """Return lines that say what was chosen; they are printed before the pass over the images.

    Args:
        session: The training.
        frozen: What computes the features.
        split: The division of the images.
        images: The number of images of the pass.
    """
    arguments, model = session.arguments, session.model
    source = f", from {session.weights_from}" if "published weights, as asked for" in model.why else ""
    lines = [*_images_in_words(session, split), f"{model.model}: {model.why}{source}"]
    if session.data.image_size < min(session.image_size, LARGEST_AUTO):
        lines.append(f"images of about {session.data.image_size} px are enlarged to the size that the weights want")
    lines.append(
        f"{model.model} at {session.image_size} px stays as published; its features of {images} images are computed by "
        f"{frozen.engine.name}, and the head, {arguments.method}, is trained on them"
    )
    if frozen.seconds_of_pass is not None:
        seconds = frozen.seconds_of_pass
        lines.append(f"the pass over these images takes about {time_in_words(seconds)} on this machine")
    if arguments.augmentation != "none":
        lines.append(
            f"augmentation {arguments.augmentation}: the head also learns from {arguments.views} mixed views of "
            f"each of {len(split.train)} images"
        )
    return lines


def without_effect(session: FitSession) -> list[str]:
    """Return the options that were given and have no effect, because only the head is trained."""
    if session.what != "head":
        return []
    names = ("epochs", "budget", "batch_size", "lr")
    return [f"--{name.replace('_', '-')}" for name in names if getattr(session.arguments, name) is not None]


def head_in_words(report: HeadReport) -> list[str]:
    """Return lines that say how the head and the unknown score were chosen."""
    lines = []
    if report.engine:  # Else all weights were trained, and features served the choice of the score alone.
        views = f" and {report.views_computed} of {report.views * report.images} mixed views" if report.views else ""
        lines.append(f"the network ran on {report.computed} images{views}, whose features were not kept yet")
    if report.mixed is not None:
        lines.append(f"{plain_percent(report.mixed)} of the mixed views show a part of another image")
    if report.engine and report.strength is not None and report.strength.folds:
        accuracy = report.strength.accuracy[report.strength.strength]
        lines.append(
            f"logistic regression of strength {report.strength.strength:g}: {plain_percent(accuracy)} answered right "
            "of the training images, each left out once"
        )
    lines += score_in_words(report.score, report.why)
    return lines


def score_in_words(score: ScoreChoice | None, why: str) -> list[str]:
    """Return a sentence for people that says how the unknown score was chosen, or why it was not."""
    if score is None:
        return [f"the unknown score was not chosen by leaving classes out: {why}"] if why else []
    best, plain = (plain_percent(score.auroc[name]) for name in (score.detector, "max_logit"))
    usual = "" if score.detector == "max_logit" else f" (max_logit in {plain})"
    return [
        f"unknown score {score.detector}: with some known classes left out in turn, it ranked an image of theirs above "
        f"another one in {best} of the pairs{usual}; no unknown image took part"
    ]


def comparison_in_words(comparison: Comparison) -> str:
    """Return a sentence that says which of two classifiers was kept, and by how much it was better."""
    if comparison.all is None:
        return f"the head alone is kept: {comparison.why}"
    kept = "all weights, newly trained, are kept" if comparison.kept == "all" else "the head alone is kept"
    return (
        f"{kept}: on {comparison.images} training images set aside from both, the head alone answered "
        f"{plain_percent(comparison.head)} right, and all weights {plain_percent(comparison.all)}"
    )


def _images_in_words(session: FitSession, split: Split) -> list[str]:
    data = session.data
    own = data.held_out
    held = len(split.held) if own is None else int((session.classifier.labels_for(own) >= 0).sum())
    kept = f", {len(split.test)} kept for a test" if len(split.test) else ""
    test = f"; the test is the data's own ({data.test_split})" if data.test_split else ""
    lines = [
        f"{len(split.train)} images of {len(data.classes)} known classes to train on, "
        f"{held} held out for calibration{kept}{test}"
    ]
    if data.alike:
        lines.append(f"{data.alike} images have a near-duplicate; those alike are on the same side")
    lines += accept_in_words(session.accept, session.held)
    if session.balance:
        lines.append("classes are of uneven size: images of rare ones are shown more than once an epoch")
    return lines


def result_in_words(test: dict[str, Any] | None, classifier: Decider) -> list[str]:
    """Return lines that say how well the classifier does on test images, which nothing was fitted on."""
    if test is None:
        return []
    figures, images = test["detectors"][classifier.detector], test["images"]
    lines = [
        f"test on {images['known']} other images of known classes: {plain_percent(test['accuracy'])} answered right "
        f"when none is rejected; accepted {accepted_in_words(figures['accepted_known'], images['known'], classifier)}"
    ]
    if images["unknown"]:
        auroc = f", AUROC {plain_percent(figures['auroc'])}" if figures["auroc"] is not None else ""
        lines.append(
            f"{images['unknown']} images of classes it does not know: {plain_percent(figures['rejected_unknown'])} "
            f'called "unknown"{auroc}'
        )
    return lines


def accepted_in_words(share: float, images: int, classifier: Decider) -> str:
    """Return the observed and the promised acceptance, and say whether chance explains the difference.

    Args:
        share: The share of the images that was accepted, 0..1.
        images: The number of images, at least 1.
        classifier: The calibrated classifier.
    """
    held_out = len(classifier.thresholds[classifier.detector].scores)
    if classifier.thresholds[classifier.detector].note is not None:
        return f"{plain_percent(share)}, as everything else: too few images are held out"
    low, high = accepted_by_chance(held_out, classifier.accept, images)
    # With a threshold for each class, each class accepts slightly more than promised, so a high share is expected.
    within = low <= share and (share <= high or classifier.per_class)
    verdict = "as it should be" if within else "more than chance explains: look at the report"
    chance = f"{plain_percent(low)} to {plain_percent(high)} by chance"
    return f"{plain_percent(share)}, promised {plain_percent(classifier.accept)} ({chance}: {verdict})"
