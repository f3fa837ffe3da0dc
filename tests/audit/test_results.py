"""What an audit says: who is caught, who is cleared, what is named."""

import json

import pytest
from audit_pictures import Made

from backmix.audit.counterfactuals import SETS
from backmix.audit.gather import choose_masks, gather
from backmix.audit.models.base import ModelOptions
from backmix.audit.models.load import load_model
from backmix.audit.results import audit_results
from backmix.audit.run import AuditRun
from backmix.data import DigitsOnTextures, Subset


def results(folder, source, name, *, masks="true", names=None, seed=0, score=None, **options):
    model = load_model(f"audit_looking:{name}", ModelOptions(image_size=32))
    chosen = choose_masks(masks, source)
    found = gather(source, chosen, names or model.names, len(names or model.names or [0] * 3), **options)
    how = {"seed": seed, "batch_size": 64}
    with AuditRun(model, found.items, found.matching.to_data, folder, {"seed": seed}, **how) as run:
        audit = run.answer()
    result = audit_results(audit, found, chosen, score, seed=seed)
    json.dumps(result, allow_nan=False)
    return result


@pytest.fixture(scope="module")
def digits():
    source = DigitsOnTextures("test", prior=0.95)
    return Subset(source, (source.labels < 6).nonzero()[:120, 0])


def test_a_classifier_that_looks_at_the_border_is_caught(tmp_path, digits):
    result = results(tmp_path, digits, "texture")
    gap, background = result["background_gap"], result["from_background"]
    assert gap["low"] > 0.4 and result["accuracy"]["original"] > 0.85 and result["accuracy"]["mixed-next"] < 0.2
    assert background["low"] > background["chance"] + 0.3 and result["flips"]["low"] > 0.4
    leaning = [of["leans_on"] and of["leans_on"]["name"] for of in result["classes"].values()]
    assert leaning == list("012345")
    assert len(result["background_decides"]) > 50


def test_a_classifier_that_looks_at_the_object_is_cleared(tmp_path, digits):
    result = results(tmp_path, digits, "shape")
    gap = result["background_gap"]
    assert result["accuracy"]["original"] > 0.85 and result["accuracy"]["only-foreground"] > 0.8
    assert gap["low"] <= 0 <= gap["high"] and abs(gap["value"]) < 0.1
    # What was taken out has left no outline behind.
    background = result["from_background"]
    assert background["low"] < background["chance"] < background["high"] and background["value"] < 0.3
    assert abs(result["pasting_cost"]["value"]) < 0.1


@pytest.mark.parametrize("masks", ["true", "saliency"])
def test_the_same_on_plain_colours_with_true_and_estimated_masks(tmp_path, masks):
    source = Made(8, rate=0.9)
    caught = results(tmp_path / "rim", source, "rim", masks=masks)
    cleared = results(tmp_path / "middle", source, "middle", masks=masks)
    assert caught["background_gap"]["low"] > 0 and caught["background_gap"]["value"] > 0.4
    assert cleared["background_gap"]["value"] == 0 and cleared["flips"]["value"] == 0
    assert cleared["accuracy"]["mixed-random"] == cleared["accuracy"]["original"] == 1
    assert any("estimated" in note for note in caught["notes"]) == (masks == "saliency")
    assert caught["masks"]["estimated"] == (masks == "saliency") and caught["masks"]["source"] == masks
    if masks == "true":
        assert "quality" not in caught["masks"] and all("masks" not in of for of in caught["classes"].values())
    else:
        # A model of the rim does not know the object alone; whether the masks miss it cannot be told from this.
        assert any("masked object alone" in of["masks"]["why"] for of in caught["classes"].values())
        assert all(of["masks"]["good"] for of in cleared["classes"].values())
        assert cleared["masks"]["quality"]["alone"] == 1 and caught["masks"]["quality"]["found"] > 0.9
    first = caught["background_decides"][0]
    assert first["answers"]["repasted"] == first["class"] and set(first["donors"]) == set(SETS[4:])
    answered = first["answers"]["mixed-random"], first["answers"]["mixed-next"]
    assert any(answer not in (None, first["class"]) for answer in answered)


def test_a_classifier_that_always_says_the_same_has_no_gap_and_leans_on_nothing(tmp_path):
    result = results(tmp_path, Made(5), "constant", names=[["cat"], ["dog"], ["owl"]])
    assert result["background_gap"] == {"value": 0, "low": 0, "high": 0}
    assert result["from_background"]["value"] == pytest.approx(result["from_background"]["chance"])
    assert all(of["leans_on"] is None for of in result["classes"].values())
    assert not result["background_decides"]


def test_scenes_name_what_a_class_leans_on(tmp_path):
    scenes = Made(9, seed=4)
    scenes.classes = ["meadow", "road", "night"]
    result = results(tmp_path, Made(6), "rim", scenes=scenes)
    assert [of["leans_on"]["name"] for of in result["classes"].values()] == scenes.classes
    assert [of["leans_on_class"]["name"] for of in result["classes"].values()] == ["cat", "dog", "owl"]
    assert result["classes"]["cat"]["leans_on"]["kind"] == "scene"
    assert result["scenes"]["meadow"]["images"] == 9 and result["scenes"]["meadow"]["answers"]["cat"] > 0.9


@pytest.mark.parametrize(("name", "misled"), [("rim_two", True), ("middle_two", False)])
def test_unknown_objects_on_known_backgrounds_mislead_who_looks_at_those(tmp_path, name, misled):
    unknown = Made({"owl": 8}, seed=3)  # Owls on their own background, which no cat or dog stands on.
    masks = choose_masks("true", unknown)
    result = results(tmp_path, Made({"cat": 8, "dog": 8}), name, unknown=unknown, unknown_masks=masks)["open_set"]
    assert result["score"] == "largest logit" and result["images"] == {"Kk": 16, "Kq": 16, "Qk": 8, "Qq": 8}
    assert result["auroc_of_originals"] == 1
    assert (result["misleading_index"]["low"] > 0.2) is misled and (result["bias"]["low"] > 0.5) is misled
    assert (result["auroc"]["Kk-Qk"]["value"] > 0.95) is not misled


def test_faults_are_counted_and_named(tmp_path):
    class Faulty(Made):
        def read_mask(self, i):
            return None if i < 25 else super().read_mask(i)

    result = results(tmp_path, Faulty({"cat": 26, "dog": 5, "owl": 4}), "rim")
    faults = result["masks"]["faults"]
    assert list(faults) == ["no mask"] and faults["no mask"]["images"] == 25
    assert faults["no mask"]["names"][:2] == ["made[0]", "made[1]"] and len(faults["no mask"]["names"]) == 20
    assert result["images"]["original"] == 35 and result["images"]["mixed-same"] == 9
    assert any(
        note.startswith("25 images left out of every set but the originals: no mask") for note in result["notes"]
    )
    assert any("a single image" in note and note.endswith("cat.") for note in result["notes"])
    assert result["classes"]["cat"]["background_gap"] is None and result["classes"]["cat"]["images"] == 26


def test_without_any_mask_that_means_something_there_is_accuracy_alone(tmp_path):
    class Unmasked(Made):
        def read_mask(self, i):
            mask = super().read_mask(i)
            return mask.point(lambda value: 0)

    result = results(tmp_path, Unmasked(3), "rim")
    assert result["accuracy"]["original"] == 1 and result["accuracy"]["mixed-same"] is None
    assert result["background_gap"] is None and result["from_background"] is None
    assert any("there is no background gap" in note for note in result["notes"])
    assert result["masks"]["faults"]["empty mask"]["images"] == 9


def test_the_same_seed_gives_the_same_figures(tmp_path):
    first, again, other = (
        results(tmp_path / str(k), Made(6, rate=0.7), "rim", seed=seed) for k, seed in enumerate((0, 0, 1))
    )
    assert first == again and first != other
