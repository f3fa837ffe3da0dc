"""What plays which part, and what is said of what is left out."""

import pytest
import torch
from audit_pictures import Made, write_set

from backmix.audit.gather import choose_masks, gather, has_masks, masks_of_unknown
from backmix.audit.items import Role
from backmix.audit.masks import GivenMasks
from backmix.data.images import ImageError
from backmix.data.load import load_source
from backmix.errors import DataError

MADE = Made(3)
NAMES = [["cat"], ["Dog"]]


class Bare(Made):
    """Without masks, and some images without a class."""

    def read_mask(self, i):
        return None


def given(source=MADE):
    return GivenMasks("true", source.read_mask)


def parts(gathered):
    return torch.bincount(gathered.items.parts, minlength=3).tolist()


def test_classes_the_model_does_not_know_are_left_out_or_unknown():
    closed = gather(MADE, given(), NAMES, 2)
    assert parts(closed) == [6, 0, 0] and closed.notes == [
        "3 images of 1 class that the model does not know are left out: owl."
    ]
    open_set = gather(MADE, given(), NAMES, 2, open_set=True)
    assert parts(open_set) == [6, 3, 0] and "count as unknown: owl" in open_set.notes[0]
    assert open_set.items.class_of(7) == "owl" and open_set.matching.to_data.tolist() == [0, 1]


def test_images_of_unknown_classes_come_from_elsewhere():
    other = Made({"dog": 2, "owl": 4})
    gathered = gather(MADE, given(), NAMES, 2, open_set=True, unknown=other, unknown_masks=given(other))
    assert parts(gathered) == [6, 4, 0]
    assert any("classes that the model knows, which are left out: dog" in note for note in gathered.notes)
    assert any("do not know are left out: owl" in note.replace("does", "do") for note in gathered.notes)
    with pytest.raises(DataError, match="all of classes that the model knows"):
        gather(MADE, given(), NAMES, 2, unknown=Made({"dog": 2, "cat": 2}), unknown_masks=given())


def test_scenes_come_last():
    gathered = gather(MADE, given(), NAMES, 2, scenes=Made(2))
    assert parts(gathered) == [6, 0, 6] and gathered.items.classes(Role.scene)[:3] == MADE.classes


def test_outputs_without_names_are_the_classes_in_order_or_numbers():
    gathered = gather(MADE, given(), None, 3)
    assert parts(gathered) == [9, 0, 0] and "in their order" in gathered.notes[0]
    assert gathered.names == [["cat"], ["dog"], ["owl"]]
    numbers = gather(MADE, given(), None, 5, {"cat": ["4"]})
    assert numbers.matching.to_data.tolist() == [-1, -1, -1, -1, 0] and numbers.names[4] == ["4"]


def test_a_model_with_other_class_names_is_fatal_only_when_nothing_is_left():
    with pytest.raises(DataError) as caught:
        gather(MADE, given(), [["lion"], ["tiger"]], 2)
    said = str(caught.value)
    assert "cat, dog, owl" in said and "lion, tiger" in said and "--class-map" in said and "\n" not in said
    some = gather(MADE, given(), [["lion"], ["owl"]], 2)
    assert parts(some) == [3, 0, 0]
    assert some.notes == [
        "6 images of 2 classes that the model does not know are left out: cat, dog.",
        "The model has 1 other class that the images are not of: lion. Such an answer counts as wrong.",
    ]


def test_a_name_for_each_output_is_needed():
    with pytest.raises(DataError, match="names 2 classes, but gives 3 logits"):
        gather(MADE, given(), NAMES, 3)


def test_images_without_a_class_are_left_out():
    source = Made(2)
    source.labels[0] = -1
    gathered = gather(source, given(source), None, 3)
    assert parts(gathered) == [5, 0, 0] and gathered.notes[-1] == "1 images without a class are left out."


def test_masks_by_name(tmp_path):
    assert choose_masks(None, MADE).name == "true" and not choose_masks(None, MADE).estimated
    assert choose_masks(None, Bare(1)).name == "saliency"
    for name in ("centre", "saliency", "grabcut"):
        masks = choose_masks(name, MADE)
        assert masks.name == name and masks.estimated
    images, folder = write_set(tmp_path, MADE)
    source = load_source(str(images), "test")
    masks = choose_masks(str(folder), source, "test")
    assert masks.name == "given" and not masks.estimated
    assert masks.look(0, source.read(0)).tobytes() == MADE.read_mask(0).tobytes()


def test_masks_that_are_not_there_are_named():
    with pytest.raises(DataError, match="the data has no masks; give their path"):
        choose_masks("true", Bare(1))
    with pytest.raises(
        DataError, match="masks are one of true, saliency, grabcut, attention, pretrained, centre, or a path"
    ):
        choose_masks("saliencey", MADE)


def test_a_broken_mask_is_a_mask():
    class Broken(Made):
        def read_mask(self, i):
            raise ImageError("x", "cut off")

    assert has_masks(Broken(1)) and has_masks(MADE) and not has_masks(Bare(1))


def test_masks_of_unknown_images_are_like_those_of_the_others():
    estimated = choose_masks("centre", MADE)
    assert masks_of_unknown(estimated, Bare(1)) is estimated
    other = Made(1, seed=9)
    masks = masks_of_unknown(given(), other)
    assert masks.look(0, other.read(0)).tobytes() == other.read_mask(0).tobytes()
    with pytest.raises(DataError, match="the unknown images have no masks; let all be estimated"):
        masks_of_unknown(given(), Bare(1))
