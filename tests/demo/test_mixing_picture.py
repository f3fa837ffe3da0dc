"""The picture of what BackMix did."""

import pytest
from PIL import Image

from backmix.classifier import OpenSetClassifier
from backmix.data.digits import DigitsOnTextures
from backmix.demo.mixing_picture import mixing_picture
from backmix.errors import DataError
from backmix.fit.training import fit
from backmix.train.recipe import TrainOptions


@pytest.mark.parametrize("how", ["patch", "swap"])
def test_same_seed_same_picture(tmp_path, how):
    source = DigitsOnTextures("val")
    classifier = OpenSetClassifier(["0", "1"], model="compact-s")
    options = TrainOptions(epochs=2, batch_size=16)
    report = fit(classifier, source, options=options, augmentation="backmix", augmentation_options={"apply": how})
    for name in ("a.png", "b.png"):
        mixing_picture(classifier, source, report, tmp_path / name, columns=4, seed=3)
    mixing_picture(classifier, source, report, tmp_path / "c.png", columns=4, seed=4)
    pictures = [Image.open(tmp_path / name).tobytes() for name in ("a.png", "b.png", "c.png")]
    assert pictures[0] == pictures[1]
    assert pictures[0] != pictures[2]


def test_without_backmix_there_is_nothing_to_show(tmp_path):
    source = DigitsOnTextures("val")
    classifier = OpenSetClassifier(["0", "1"], model="compact-s")
    report = fit(classifier, source, options=TrainOptions(epochs=1, batch_size=16))
    with pytest.raises(DataError, match="without BackMix"):
        mixing_picture(classifier, source, report, tmp_path / "a.png")
