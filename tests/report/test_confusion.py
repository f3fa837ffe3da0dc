"""What was taken for what."""

import numpy as np
import pytest
from report_answers import answers

from backmix.report.confusion import confused_pairs, confusion_image, confusion_rows, confusion_section

ROWS = [
    ("cat", "cat", True, 0),
    ("cat", "dog", True, 0),
    ("cat", "cat", False, 1),
    ("dog", "cat", True, 0),
    ("dog", "cat", True, 0),
    ("cow", "dog", True, 0),
    ("cow", "cat", False, 1),
    ("owl", "cat", True, 0),
]


def test_every_image_is_in_the_matrix_once():
    rows = confusion_rows(answers(ROWS))
    assert [(row.name, row.known, row.counts.tolist()) for row in rows] == [
        ("cat", True, [1, 1, 1]),
        ("dog", True, [2, 0, 0]),
        ("cow", False, [0, 1, 1]),
        ("owl", False, [1, 0, 0]),
    ]
    assert sum(row.total for row in rows) == len(ROWS)
    assert [rows[0].kind(k) for k in range(3)] == ["right", "wrong", "unknown"]
    assert [rows[2].kind(k) for k in range(3)] == ["wrong", "wrong", "right"]


def test_an_unknown_class_of_the_name_of_a_known_one_keeps_its_row():
    tested = answers([("cat", "cat", True, 0)])
    tested.labels[0] = -1  # As data given by --unknown counts.
    rows = confusion_rows(tested)
    assert [(row.name, row.known, row.total) for row in rows] == [("cat", True, 0), ("dog", True, 0), ("cat", False, 1)]


@pytest.mark.parametrize(("classes", "own", "pooled"), [(12, 12, 0), (13, 13, 0), (14, 12, 2), (40, 12, 28)])
def test_unknown_classes_beyond_a_dozen_share_a_row(classes, own, pooled):
    rows = [(f"u{k}", "cat", k % 2, 0) for k in range(classes) for _ in range(1 + (k % 3))]
    unknown = [row for row in confusion_rows(answers(rows)) if not row.known]
    assert len([row for row in unknown if row.pooled == 1]) == own
    assert sum(row.total for row in unknown) == len(rows)
    if pooled:
        assert unknown[-1].name == f"{pooled} further classes" and unknown[-1].pooled == pooled
        assert sorted(row.total for row in unknown[:-1]) == sorted(1 + (k % 3) for k in range(classes))[-12:]
    names = [row.name for row in unknown if row.pooled == 1]
    assert names == sorted(names, key=lambda name: int(name[1:]))


def test_pairs_are_the_most_frequent_first_and_leave_unknown_out():
    pairs = confused_pairs(answers(ROWS))
    assert [(p.truth, p.answer, p.images, p.total, p.known) for p in pairs] == [
        ("dog", "cat", 2, 2, True),
        ("cat", "dog", 1, 3, True),
        ("cow", "dog", 1, 2, False),
        ("owl", "cat", 1, 1, False),
    ]
    assert len(confused_pairs(answers(ROWS), most=1)) == 1


def test_a_wide_matrix_becomes_a_picture():
    classes = [f"c{k}" for k in range(200)]
    tested = answers([(name, name, True, 0) for name in classes] + [("other", "c0", False, 1)], classes)
    section = confusion_section(tested)
    assert not section.as_table and section.picture.startswith("data:image/png;base64,")
    picture = np.asarray(confusion_image(section.rows))
    assert picture.shape == (202, 201)
    assert (np.diag(picture[:200, :200]) == 0).all() and picture[201, 200] == 0
    assert (picture[:200, :200].sum() == 255 * (200 * 200 - 200)) and (picture[200] == 150).all()
    assert "200 known classes" in section.picture_words


def test_a_narrow_one_is_a_table():
    section = confusion_section(answers(ROWS))
    assert section.as_table and section.picture is None


def test_thousands_of_classes_make_no_picture():
    classes = [f"c{k}" for k in range(1000)]
    section = confusion_section(answers([("c1", "c2", True, 0)], classes))
    assert section.picture is None and not section.as_table and len(section.pairs) == 1
