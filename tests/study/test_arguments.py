"""What a study is made on by what was asked for, and the words that ask for it again."""

import os

import pytest

from backmix.errors import DataError
from backmix.study.arguments import StudyArguments, typed
from backmix.study.choose_setting import make_setting

REAL = os.environ.get("BACKMIX_DATA")


@pytest.mark.skipif(REAL is None, reason="BACKMIX_DATA is not set: no real images")
def test_real_objects_with_and_without_scenes():
    leeds, scenes = f"{REAL}/leeds-butterfly", f"{REAL}/intel-scenes"
    plain = make_setting(StudyArguments(data=leeds))
    assert plain.name == "photographs" and len(plain.known) == 6
    dtd = f"{REAL}/dtd-part"
    laid = make_setting(StudyArguments(data=leeds, scenes=scenes, other_scenes=dtd, image_size=32, epochs=3))
    sources = laid.sources(0.95, 0)
    assert laid.options.epochs == 3 and sources.test.read(0).size == (32, 32) and sources.elsewhere is not None
    with pytest.raises(DataError, match="has no masks"):
        make_setting(StudyArguments(data=scenes))
    with pytest.raises(DataError, match="go with --scenes"):
        make_setting(StudyArguments(data=leeds, other_scenes=dtd))
    with pytest.raises(DataError, match="outliers must show no known class"):
        make_setting(StudyArguments(data=leeds, scenes=scenes, outliers=leeds))


def test_data_that_is_not_divided(tmp_path):
    from PIL import Image

    for name in ("cat", "dog", "owl"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (20, 20)).save(tmp_path / name / "one.png")
    with pytest.raises(DataError, match="must be divided into train and test"):
        make_setting(StudyArguments(data=str(tmp_path)))


def test_the_words_that_repeat_it():
    assert typed(StudyArguments()) == ["backmix", "study", "digits", "--out", "NEW"]
    words = typed(StudyArguments(data="a b", scenes="s", priors=(0.5, 0.95), seeds=(0,), known_classes=("x", "y")))
    assert words[2:] == [
        *("a b", "--out", "NEW", "--scenes", "s", "--known-classes", "x,y", "--priors", "0.5,0.95", "--seeds", "0")
    ]
