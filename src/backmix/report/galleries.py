"""Pictures of the worst answers: what they show, what was answered, and where the network saw it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from backmix.classifier import OpenSetClassifier
from backmix.data.images import ImageError
from backmix.inference.evidence import evidence_maps
from backmix.pages.pictures import data_uri, place_of, spotlight, thumbnail
from backmix.pages.words import number, quoted
from backmix.report.tested import Tested

MOST = 12


@dataclass(frozen=True)
class Card:
    """One image of a gallery.

    Attributes:
        picture: its central square, as an address.
        evidence: the same with the map of the likeliest class.
        picture_words: what `picture` is.
        evidence_words: what `evidence` shows.
        truth: what it shows.
        likeliest: the likeliest known class.
        accepted: whether that was the answer; otherwise it was "unknown".
        score: unknown score.
        p_value: None where there is no threshold.
        confidence: softmax probability of the likeliest class, 0..1.
        name: of the file.
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
    """Some of the images that one thing went wrong with.

    Attributes:
        key: short name, for links.
        title: what went wrong.
        how: how to read it.
        total: images that it went wrong with.
        none: what to say where there are none.
        cards: the worst of them.
    """

    key: str
    title: str
    how: str
    total: int
    none: str
    cards: list[Card] = field(default_factory=list)


def make_galleries(tested: Tested, classifier: OpenSetClassifier, *, most: int = MOST) -> list[Gallery]:
    """Most confident mistakes, worst accepted unknowns, worst rejected knowns.

    Args:
        tested: the answers.
        classifier: that gave them.
        most: pictures of each kind.
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
    """Rows of some images, the least strange first or the strangest: by p-value, then by unknown score, then by row.

    Args:
        tested: the answers.
        which: (N,) bool, the images.
        strangest: whether the strangest come first.
    """
    rows: list[int] = which.nonzero().flatten().tolist()
    sign = -1.0 if strangest else 1.0
    p_values = tested.p_values

    def strangeness(row: int) -> tuple[float, float, int]:
        # Where classes have thresholds of their own, scores of different classes are not alike, but p-values are.
        rank = 0.0 if p_values is None else -float(p_values[row])
        return sign * rank, sign * float(tested.scores[row]), row

    return sorted(rows, key=strangeness)


def _cards(tested: Tested, classifier: OpenSetClassifier, rows: list[int]) -> list[Card]:
    pictures = []
    for row in rows:
        try:
            pictures.append((row, tested.read(row)))
        except ImageError:
            continue  # It could be read a minute ago; what has gone since is not worth the report.
    if not pictures:
        return []
    images = torch.stack([classifier.preprocess.decode(picture) for _, picture in pictures])
    classes = torch.stack([tested.predicted[row] for row, _ in pictures])
    maps = evidence_maps(classifier, images, classes)
    return [
        _card(tested, row, thumbnail(picture), evidence)
        for (row, picture), evidence in zip(pictures, maps, strict=True)
    ]


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
