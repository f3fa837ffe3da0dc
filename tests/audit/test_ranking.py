"""Images whose answer the background decides, the clearest first."""

import torch
from audit_columns import column, columns

from backmix.audit import ranking
from backmix.audit.ranking import background_scores, decided_by_background

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
    monkeypatch.setattr(ranking, "SHOWN", 2)
    assert decided_by_background(same, LABELS[:4], everyone) == [0, 1]


def test_without_other_backgrounds_there_is_no_score_and_no_image():
    none = columns(2, repasted=column([0, 0]))
    assert background_scores(none).isnan().all()
    assert decided_by_background(none, LABELS[:2], torch.ones(2, dtype=torch.bool)) == []
