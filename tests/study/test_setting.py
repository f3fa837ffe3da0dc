"""What a study is made on: training, test and outliers apart."""

import numpy as np
import pytest
import torch
from objects_and_scenes import Objects, Scenes

from backmix.data.digits import DigitsOnTextures
from backmix.data.source import Subset
from backmix.errors import DataError
from backmix.study.setting import (
    DigitsSetting,
    ObjectsSetting,
    PhotosSetting,
    ScrambledDigits,
    TexturesAlone,
    _scrambled,
    check_masks,
    default_known,
    few_images_options,
)


def objects_setting(**options):
    names = {"data": "objects", "scenes": "scenes"}
    return ObjectsSetting(
        (Objects(), Objects(6)), (Scenes(20), Scenes(4)), ["red", "blue"], names, image_size=32, **options
    )


def test_digits_stand_where_the_study_says():
    setting = DigitsSetting()
    assert setting.priors == (1 / 6, 0.5, 0.8, 0.95)
    sources = setting.sources(0.95, 3)
    assert (sources.train.split, sources.held_out.split, sources.test.split) == ("train", "val", "test")
    textures = sources.elsewhere.arrays().textures
    assert textures.unique().tolist() == [6, 7, 8, 9] and set(sources.elsewhere.labels.tolist()) == set(range(10))
    own = sources.independent.arrays()
    known = own.labels < 6
    assert abs(float((own.textures == own.labels)[known].double().mean()) - 1 / 6) < 0.06
    assert sources.train.seed == 3 and sources.train.prior == 0.95


def test_outliers_of_the_digits_are_of_known_classes_and_not_the_training_textures():
    setting = DigitsSetting()
    assert setting.outliers("backgrounds", 0.8, 0) == "backgrounds"
    for kind, maker in (("scenes", TexturesAlone), ("set", ScrambledDigits)):
        outliers = setting.outliers(kind, 0.8, 0)
        assert isinstance(outliers.source, maker) and int(outliers.labels.max()) == 5
        assert outliers.source.seed != setting.sources(0.8, 0).train.seed


def test_objects_and_scenes_of_training_held_out_and_test_are_apart():
    setting = objects_setting()
    assert setting.priors == (0.5, 0.8, 0.95)
    sources = setting.sources(0.8, 1)
    objects = [set(source._objects.indices.tolist()) for source in (sources.train, sources.held_out)]
    scenes = [set(source._grounds.indices.tolist()) for source in (sources.train, sources.held_out)]
    assert not objects[0] & objects[1] and not scenes[0] & scenes[1]
    assert sources.test._objects is setting._test and len(sources.test) == 36
    assert set(sources.train.labels.tolist()) == {0, 1} and set(sources.test.labels.tolist()) == {0, 1, 2}
    assert torch.equal(sources.independent.labels, sources.test.labels) and sources.elsewhere is None
    assert len(sources.train) == pytest.approx(2400, rel=0.05)


def test_other_scenes_and_outliers():
    setting = objects_setting(others=Scenes(3), outlier_set=Scenes(2))
    assert len(setting.sources(0.8, 0).elsewhere) == 36
    assert len(setting.outliers("set", 0.8, 0)) == 5 and setting.outliers("backgrounds", 0.8, 0) == "backgrounds"
    assert len(setting.outliers("scenes", 0.8, 0)) == 34
    assert objects_setting().outliers("set", 0.8, 0) is None


def test_photographs_as_they_are():
    setting = PhotosSetting((Objects(), Objects(6)), ["red", "blue"], "photos")
    sources = setting.sources(None, 0)
    assert setting.priors == () and sources.independent is None and sources.elsewhere is None
    assert not set(sources.train.indices.tolist()) & set(sources.held_out.indices.tolist())
    assert len(sources.train) + len(sources.held_out) == 40 and len(sources.test) == 18
    assert setting.outliers("scenes", None, 0) is None and setting.outliers("backgrounds", None, 0) == "backgrounds"


def test_descriptions_tell_settings_apart():
    assert DigitsSetting().describe()["known"] == list("012345")
    assert objects_setting().describe()["scenes"] == "scenes"
    assert PhotosSetting((Objects(), Objects(6)), ["red", "blue"], "p").describe()["data"] == "p"


def test_which_classes_are_known_by_default():
    assert default_known(Objects()) == ["red", "blue"]
    digits = DigitsOnTextures("val")
    assert default_known(digits) == list("012345")
    only = Subset(digits, (digits.labels >= 7).nonzero()[:, 0])
    assert default_known(only) == ["7", "8"]
    with pytest.raises(DataError, match="three classes or more"):
        default_known(Subset(digits, (digits.labels >= 8).nonzero()[:, 0]))


def test_lengths_of_trainings():
    for count in (50, 300, 2400, 100_000):
        options = few_images_options(count)
        assert 8 <= options.epochs <= 150 and options.flip == 0.5
    assert few_images_options(2400).epochs == 12


def test_data_without_masks():
    check_masks(Objects(), "objects")
    with pytest.raises(DataError, match="scenes has no masks"):
        check_masks(Scenes(), "scenes")


def test_textures_alone_are_the_textures_without_a_digit():
    digits, alone = DigitsOnTextures("val", seed=3).arrays(), TexturesAlone("val", seed=3).arrays()
    assert not alone.masks.any() and torch.equal(alone.textures, digits.textures)
    # Where there is no ink at all the picture is as it was.
    far = torch.nn.functional.max_pool2d(digits.masks[:, None].float(), 7, 1, 3)[:, 0] == 0
    same = (digits.images == alone.images).all(1)
    assert same[far].float().mean() > 0.99 and not same[digits.masks].all()


def test_scrambled_digits_have_the_ink_and_no_quarter_at_its_place():
    digit = np.arange(64.0).reshape(8, 8)
    for i in range(50):
        made = _scrambled(digit, i)
        assert np.array_equal(np.sort(made.ravel()), digit.ravel())
        assert np.array_equal(made, _scrambled(digit, i))
        for row in (0, 4):
            for column in (0, 4):
                place = slice(row, row + 4), slice(column, column + 4)
                assert not np.array_equal(made[place], digit[place])


def test_scrambled_pictures_differ_from_digits():
    digits, scrambled = DigitsOnTextures("val", seed=0), ScrambledDigits("val", seed=0)
    assert len(digits) == len(scrambled) and scrambled.arrays().masks.flatten(1).any(1).all()
    assert (digits.arrays().masks != scrambled.arrays().masks).flatten(1).any(1).float().mean() > 0.98
