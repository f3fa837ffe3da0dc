"""Make galleries of the worst answers: the images, the answers, and the maps of the answered class."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from backmix.classifier import OpenSetClassifier
from backmix.data.images import ImageError
from backmix.data.photo import GAP
from backmix.inference.evidence import evidence_maps
from backmix.pages.pictures import SIDE, data_uri, place_of, spotlight, thumbnail
from backmix.pages.words import number, quoted
from backmix.report.tested import Tested

MOST = 12


@dataclass(frozen=True)
class Card:
    """One image of a gallery.

    Attributes:
        picture: The central square of the image, as a data address.
        evidence: The same square with the map of the likeliest class.
        picture_words: A description of `picture`.
        evidence_words: A description of `evidence`.
        truth: The class that the image shows.
        likeliest: The likeliest known class.
        accepted: Whether the likeliest class was the answer; otherwise the answer was "unknown".
        score: The unknown score.
        p_value: The p-value; None if there is no threshold.
        confidence: The softmax probability of the likeliest class, 0..1.
        name: The name of the image.
    """

    picture: str
    evidence: str
    picture_words: str
    evidence_words: str
    truth: str
    likeliest: str
    accepted: bool
    score: float
    p_value: float | None
    confidence: float
    name: str


@dataclass(frozen=True)
class Gallery:
    """Images with one kind of wrong answer.

    Attributes:
        key: A short name for links.
        title: The kind of wrong answer.
        how: A sentence on how to read the gallery.
        total: The number of all images with this kind of wrong answer.
        none: The sentence to show if there are none.
        cards: The worst of these images.
    """

    key: str
    title: str
    how: str
    total: int
    none: str
    cards: list[Card] = field(default_factory=list)


def make_galleries(tested: Tested, classifier: OpenSetClassifier, *, most: int = MOST) -> list[Gallery]:
    """Return three galleries: the most confident mistakes, the worst accepted unknowns and the worst rejected knowns.

    Args:
        tested: The answers.
        classifier: The classifier that gave the answers.
        most: The largest number of images in a gallery.
    """
    known, accepted = tested.known, tested.accepted
    some_unknown = bool((~known).any())
    galleries = [
        Gallery(
            "mistakes",
            "Most confident mistakes",
            "Images of known classes that were taken for another, those first that seemed least strange.",
            int(tested.wrong.sum()),
            "No image of a known class was taken for another.",
            _cards(tested, classifier, worst(tested, tested.wrong)[:most]),
        ),
        Gallery(
            "missed",
            "Unknowns taken for known",
            "Images of things that the run does not know and yet named, those first that seemed least strange.",
            int((~known & accepted).sum()),
            "Every unknown image was called unknown." if some_unknown else "No unknown image was tested.",
            _cards(tested, classifier, worst(tested, ~known & accepted)[:most]),
        ),
        Gallery(
            "refused",
            "Knowns called unknown",
            "Images of known classes that were called unknown, those first that seemed strangest.",
            int((known & ~accepted).sum()),
            "No image of a known class was called unknown.",
            _cards(tested, classifier, worst(tested, known & ~accepted, strangest=True)[:most]),
        ),
    ]
    return galleries


def worst(tested: Tested, which: Tensor, *, strangest: bool = False) -> list[int]:
    """Return the rows of some images, the least strange first or the strangest first.

    The order is by p-value, then by unknown score, then by row.

    Args:
        tested: The answers.
        which: (N,) bool, the images to sort.
        strangest: Whether the strangest images come first.
    """
    rows: list[int] = which.nonzero().flatten().tolist()
    sign = -1.0 if strangest else 1.0
    p_values = tested.p_values

    def strangeness(row: int) -> tuple[float, float, int]:
        # If classes have their own thresholds, p-values of different classes are comparable, but scores are not.
        rank = 0.0 if p_values is None else -float(p_values[row])
        return sign * rank, sign * float(tested.scores[row]), row

    return sorted(rows, key=strangeness)


def _cards(tested: Tested, classifier: OpenSetClassifier, rows: list[int]) -> list[Card]:
    pictures = []
    decoded = []
    for row in rows:
        try:
            photo = tested.read(row, classifier.preprocess.at_least)
            shown = thumbnail(photo if photo.has(GAP * SIDE) else tested.read(row, GAP * SIDE))
        except ImageError:
            continue  # It was readable during the test; a report without it is better than none.
        pictures.append((row, shown))
        decoded.append(classifier.preprocess.decode(photo))
    if not pictures:
        return []
    images = torch.stack(decoded)
    classes = torch.stack([tested.predicted[row] for row, _ in pictures])
    maps = evidence_maps(classifier, images, classes)
    return [_card(tested, row, picture, evidence) for (row, picture), evidence in zip(pictures, maps, strict=True)]


def _card(tested: Tested, row: int, picture: Image.Image, evidence: Tensor) -> Card:
    likeliest = tested.classes[int(tested.predicted[row])]
    truth = tested.truth[row]
    accepted = bool(tested.accepted[row])
    score = float(tested.scores[row])
    place = place_of(evidence)
    answer = quoted(likeliest) if accepted else "unknown"
    return Card(
        data_uri(picture),
        data_uri(spotlight(picture, evidence)),
        f"Image of {quoted(truth)}, answered {answer}, unknown score {number(score)}",
        f"Evidence for {quoted(likeliest)} lies {place}"
        if place
        else f"No part of the image speaks for {quoted(likeliest)}",
        truth,
        likeliest,
        accepted,
        score,
        None if tested.p_values is None else float(tested.p_values[row]),
        float(tested.confidence[row]),
        tested.name(row),
    )
