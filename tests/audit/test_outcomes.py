"""Records of a journal as columns, and the images whose answer the background decides, the clearest first."""

import numpy as np
import pytest
import torch
from audit_columns import column, columns

from backmix.audit import outcomes
from backmix.audit.journal import RECORD
from backmix.audit.outcomes import background_scores, decided_by_background, read_outcomes
from backmix.errors import DataError


def test_records_come_to_their_place():
    first, second = np.zeros(2, dtype=RECORD), np.zeros(2, dtype=RECORD)
    first["item"], first["set"], first["answer"] = [2, 0], [0, 1], [1, 2]
    second["item"], second["set"], second["answer"], second["truth"] = [0, 1], [0, 0], [0, 2], [0.25, np.nan]
    first["score"] = [5, 6]
    columns = read_outcomes([first, second], ["a", "b", "c"], torch.tensor([7, 3, -1]), 4)
    assert columns["a"].output.tolist() == [0, 2, 1, -1] and columns["a"].answer.tolist() == [7, -1, 3, -1]
    assert columns["a"].present.tolist() == [True, True, True, False]
    assert columns["b"].output.tolist() == [2, -1, -1, -1] and columns["b"].score[0] == 6
    assert columns["a"].truth[0] == 0.25 and columns["a"].truth[1].isnan() and columns["a"].truth[3].isnan()
    assert not columns["c"].present.any() and columns["c"].score.isnan().all()


@pytest.mark.parametrize(
    ("field", "value", "most"), [("item", 2**31 - 1, 4), ("item", -1, 4), ("set", 255, 3), ("answer", 2**31 - 1, 3)]
)
def test_numbers_of_a_journal_are_looked_at_before_anything_has_their_size(field, value, most):
    records = np.zeros(2, dtype=RECORD)
    records[field][1] = value
    with pytest.raises(DataError, match=rf"not of it: {field} goes from .*{value}.*, and there are {most}; delete"):
        read_outcomes([records], ["a", "b", "c"], torch.tensor([7, 3, -1]), 4)


def test_another_output_without_a_class_is_another_answer():
    records = np.zeros(6, dtype=RECORD)
    records["item"], records["set"] = [0, 1, 2] * 2, [0] * 3 + [1] * 3
    records["answer"] = [0, 2, 2, 1, 2, 3]
    columns = read_outcomes([records], ["a", "b"], torch.tensor([0, 0, -1, -1]), 3)
    # Two outputs of one class are one answer; two of none are two.
    assert columns["a"].changed(columns["b"]).tolist() == [False, False, True]


LABELS = torch.zeros(6, dtype=torch.int64)


def given():
    return columns(
        6,
        repasted=column([0, 0, 0, 1, 0, 0], truth=[0.9, 0.8, 0.9, 0.2, 0.6, 0.9]),
        mixed_same=column([0, 0, 0, 0, None, 0], truth=[0.9, 0.8, 0.9, 0.6, 0, 0.9]),
        mixed_random=column([1, 1, 0, 1, 1, 0], truth=[0.1, 0.2, 0.9, 0.1, 0.2, 0.8]),
        mixed_next=column([1, 0, 0, 1, None, 1], truth=[0.1, 0.6, 0.9, 0.1, 0, 0.4]),
    )


def test_scores_are_differences_of_means():
    wanted = torch.tensor([0.8, 0.4, 0.0, 0.3, 0.4, 0.3]).double()
    assert torch.allclose(background_scores(given()), wanted, atol=1e-6)


def test_only_images_that_turn_wrong_are_ranked():
    everyone = torch.ones(6, dtype=torch.bool)
    # 2 stays right, 3 is wrong already; 1 and 4 are equal but for rounding, so their order is not asked.
    found = decided_by_background(given(), LABELS, everyone)
    assert found[0] == 0 and set(found[1:3]) == {1, 4} and found[3:] == [5]
    assert decided_by_background(given(), LABELS, torch.tensor([False] * 5 + [True])) == [5]


def test_ties_keep_their_order_and_the_list_ends(monkeypatch):
    same = columns(
        4,
        repasted=column([0] * 4, truth=[0.9] * 4),
        mixed_random=column([1] * 4, truth=[0.1] * 4),
        mixed_next=column([1] * 4, truth=[0.1] * 4),
    )
    everyone = torch.ones(4, dtype=torch.bool)
    assert decided_by_background(same, LABELS[:4], everyone) == [0, 1, 2, 3]
    monkeypatch.setattr(outcomes, "SHOWN", 2)
    assert decided_by_background(same, LABELS[:4], everyone) == [0, 1]


def test_without_other_backgrounds_there_is_no_score_and_no_image():
    none = columns(2, repasted=column([0, 0]))
    assert background_scores(none).isnan().all()
    assert decided_by_background(none, LABELS[:2], torch.ones(2, dtype=torch.bool)) == []
