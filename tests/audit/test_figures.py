"""Figures of known images, worked out by hand."""

import pytest
import torch
from audit_columns import column, columns

from backmix.audit.counterfactuals import SETS
from backmix.audit.figures import DIFFERENCES, known_figures

LABELS = torch.tensor([0, 0, 0, 1, 1, 1])
EVERYONE = torch.ones(6, dtype=torch.bool)


def figures(given, among=EVERYONE, seed=0):
    return known_figures(given, LABELS, among, torch.Generator().manual_seed(seed), resamples=200)


def all_sets():
    return columns(
        6,
        original=column([0, 0, 0, 1, 1, -1], entropy=[0.1] * 6),
        repasted=column([0, 0, 1, 1, 1, -1]),
        only_foreground=column([0, 0, 0, 1, 1, 1]),
        only_background=column([0, 1, 1, 1, 0, None], entropy=[0.5, 0.5, 0.5, 0.9, 0.9, 7]),
        mixed_same=column([0, 0, 0, 1, None, 1]),
        mixed_random=column([0, 1, 1, 1, None, 0]),
        mixed_next=column([1, 1, 1, 0, 0, 0]),
    )


def test_each_figure_by_hand():
    found = figures(all_sets())
    value = {name: of and of.value for name, of in found.overall.items()}
    assert [value[name] for name in SETS] == pytest.approx([5 / 6, 4 / 6, 1, 2 / 5, 1, 2 / 5, 0])
    assert value["background_gap"] == pytest.approx(3 / 5)  # Of the five in both sets.
    assert value["pasting_cost"] == pytest.approx(1 / 6)
    assert value["flips"] == pytest.approx(2 / 5) and value["flips_by_pasting"] == pytest.approx(1 / 6)
    assert value["flips_same_class"] == pytest.approx(2 / 5)
    assert value["from_background"] == pytest.approx(2 / 5)
    assert value["entropy_of_originals"] == pytest.approx(0.1)
    assert value["entropy_of_backgrounds"] == pytest.approx(3.3 / 5)
    # Backgrounds: answered 0 twice and 1 three times, true 0 three times and 1 twice.
    assert found.chance == pytest.approx((2 * 3 + 3 * 2) / 25)
    assert found.images["mixed-same"] == 5 and found.images["original"] == 6


def test_each_class_is_of_its_own_images():
    found = figures(all_sets())
    assert found.of_class[0]["background_gap"].value == pytest.approx(2 / 3)
    assert found.of_class[1]["background_gap"].value == pytest.approx(1 / 2)
    for of in found.of_class.values():
        for name in (*SETS, *DIFFERENCES):
            assert of[name].low <= of[name].value <= of[name].high


def test_only_the_images_asked_for_count():
    found = figures(all_sets(), torch.tensor([True] * 3 + [False] * 3))
    assert list(found.of_class) == [0] and found.overall["mixed-random"].value == pytest.approx(1 / 3)
    assert found.images["original"] == 3


def test_what_has_no_images_is_none():
    found = figures(columns(6, original=column([0, 0, 0, 1, 1, 1])))
    assert found.overall["original"].value == 1 and found.chance is None
    assert all(found.overall[name] is None for name in DIFFERENCES)


def test_the_same_seed_gives_the_same_interval_and_another_nearly_so():
    given = columns(6, original=column([0] * 6, entropy=[0.11, 0.27, 0.38, 0.52, 0.69, 0.93]))
    first, again, other = (figures(given, seed=seed).overall["entropy_of_originals"] for seed in (1, 1, 2))
    assert first == again and first != other and first.value == other.value
