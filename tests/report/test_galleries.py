"""Pictures of the worst answers."""

import pytest
import torch
from report_answers import answers

from backmix.classifier import OpenSetClassifier
from backmix.data.images import ImageError
from backmix.report.galleries import make_galleries, worst


@pytest.fixture(scope="module")
def classifier():
    return OpenSetClassifier(["cat", "dog"], model="compact-s", image_size=32)


ROWS = [
    ("cat", "dog", True, 0.3),
    ("cat", "dog", True, 0.1),
    ("cat", "cat", True, 0.0),
    ("dog", "dog", False, 0.97),
    ("dog", "cat", False, 0.99),
    ("cow", "cat", True, 0.2),
    ("cow", "cat", False, 0.98),
]


def test_each_gallery_shows_its_own_kind_the_worst_first(classifier):
    mistakes, missed, refused = make_galleries(answers(ROWS), classifier)
    assert [card.name for card in mistakes.cards] == ["image 1", "image 0"] and mistakes.total == 2
    assert [card.name for card in missed.cards] == ["image 5"]
    assert [card.name for card in refused.cards] == ["image 4", "image 3"]
    card = mistakes.cards[0]
    assert (card.truth, card.likeliest, card.accepted, card.score) == ("cat", "dog", True, 0.1)
    assert card.p_value == pytest.approx(0.9) and card.confidence == 0.5
    assert card.picture.startswith("data:image/jpeg;base64,") and card.picture != card.evidence
    assert card.picture_words == "Image of \u2068cat\u2069, answered \u2068dog\u2069, unknown score 0.1"
    assert "\u2068dog\u2069" in card.evidence_words
    assert refused.cards[0].picture_words.endswith("answered unknown, unknown score 0.99")


def test_no_more_than_a_dozen_pictures(classifier):
    galleries = make_galleries(answers([("cat", "dog", True, 0.1)] * 40), classifier)
    assert len(galleries[0].cards) == 12 and galleries[0].total == 40


def test_nothing_went_wrong(classifier):
    galleries = make_galleries(answers([("cat", "cat", True, 0.1)]), classifier)
    assert [gallery.total for gallery in galleries] == [0, 0, 0] and galleries[1].none == "No unknown image was tested."
    galleries = make_galleries(answers([("cow", "cat", False, 1)]), classifier)
    assert galleries[1].none == "Every unknown image was called unknown."


def test_an_image_that_is_gone_meanwhile_is_passed_over(classifier):
    tested = answers(ROWS)

    def read(i):
        if i == 1:
            raise ImageError("1.png", "no such file")
        return type(tested.sources[0]).read(tested.sources[0], i)

    tested.sources[0].read = read
    assert [card.name for card in make_galleries(tested, classifier)[0].cards] == ["image 0"]
    tested.sources[0].read = lambda i: (_ for _ in ()).throw(ImageError("x.png", "gone"))
    assert make_galleries(tested, classifier)[0].cards == []


def test_order_is_by_p_value_then_score_then_row():
    tested = answers([("cat", "dog", True, score) for score in (0.5, 0.2, 0.2, 0.9)])
    everything = torch.ones(4, dtype=torch.bool)
    assert worst(tested, everything) == [1, 2, 0, 3]
    assert worst(tested, everything, strangest=True) == [3, 0, 1, 2]
    tested.p_values[3] = 1.0  # As a class with a threshold of its own may give.
    assert worst(tested, everything)[0] == 3
    assert worst(answers([("cat", "dog", True, 1), ("cat", "dog", True, 0)], p_values=False), everything[:2]) == [1, 0]
