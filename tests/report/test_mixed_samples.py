"""Samples of BackMix from what a run left behind."""

import dataclasses
import shutil

import pytest

from backmix.report.mixed_samples import mixed_samples
from backmix.report.run_facts import read_facts
from backmix.runs.folder import load_run

PARTS = ["target", "donor", "its map", "what is masked", "mixed"]


@pytest.fixture
def sampled(mixed_run):
    classifier, facts = load_run(mixed_run), read_facts(mixed_run)

    def sample(augmentation="backmix", folder=mixed_run, **options):
        arguments = {**facts.arguments, "augmentation": augmentation, "augmentation_options": options}
        config = {**facts.config, "arguments": arguments}
        return mixed_samples(dataclasses.replace(facts, folder=folder, config=config), classifier)

    return sample


def test_the_maps_are_those_of_the_bank(sampled):
    found = sampled()
    assert found.missing is None and "foreground bank" in found.maps and "square" in found.how
    assert 1 <= len(found.samples) <= 5
    for sample in found.samples:
        assert [picture.part for picture in sample] == PARTS
        assert sample[0].address != sample[4].address and sample[1].address != sample[3].address
        assert sample[0].of in ("red", "green", "blue") and sample[0].of in sample[4].words
    assert found == sampled()


def test_without_the_bank_maps_are_computed_anew(sampled, mixed_run, tmp_path):
    run = shutil.copytree(mixed_run, tmp_path / "run")
    (run / "checkpoint.pt").unlink()
    found = sampled(folder=run)
    assert len(found.samples) >= 1 and "computed anew" in found.maps


@pytest.mark.parametrize(
    ("augmentation", "options"),
    [
        ("swap", {}),
        ("mixup+backmix", {"num_patches": 2}),
        ("backmix", {"foreground": "centre"}),
        ("backmix", {"foreground": "random"}),
        ("backmix", {"selection": "random", "patch_side": 0.5}),
        ("backmix", {"foreground": "none"}),
        ("backmix", {"donor": "other", "fill": "mean"}),
    ],
)
def test_other_ways_to_mix(sampled, augmentation, options):
    found = sampled(augmentation, **options)
    assert found.missing is None and found.samples
    if "foreground" in options:
        assert options["foreground"] in found.maps


def test_a_run_without_backmix_says_how_to_train_with_it(sampled):
    for name in ("none", "cutmix"):
        found = sampled(name)
        assert found.samples == [] and "--augmentation backmix" in found.missing


def test_what_stands_in_the_way_is_said(sampled, mixed_run):
    assert "no option" in sampled(wrong=1).missing
    assert "has no mask" in sampled(foreground="masks").missing or "can be read" in sampled(foreground="masks").missing
    classifier, facts = load_run(mixed_run), read_facts(mixed_run)
    config = {**facts.config, "arguments": {"augmentation": "backmix", "data": "nowhere/at/all"}}
    gone = dataclasses.replace(facts, folder=mixed_run / "logs", config=config)
    assert "cannot be shown" in mixed_samples(gone, classifier).missing


def test_a_training_that_mixed_nothing_shows_nothing_mixed(mixed_run):
    classifier, facts = load_run(mixed_run), read_facts(mixed_run)
    assert all(0 <= entry["mixed"] <= 1 for entry in facts.history) and facts.history[-1]["mixed"] > 0
    history = [{**entry, "mixed": 0.0} for entry in facts.history]
    nothing = dataclasses.replace(facts, metrics={**facts.metrics, "history": history})
    found = mixed_samples(nothing, classifier)
    assert found.samples == [] and "mixed no image" in found.missing
    assert mixed_samples(facts, classifier).samples


def test_the_picture_of_the_background_hides_what_is_masked(sampled):
    picture = next(each for each in sampled().samples[0] if each.part == "what is masked")
    assert "hatched" in picture.words
