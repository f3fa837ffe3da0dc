"""The trainings of the study are ones that can be made."""

from backmix.augmentations import make_augmentation
from backmix.data.preprocess import Preprocess
from backmix.foregrounds.choose import choose_estimator
from backmix.methods import METHODS
from backmix.study.trainings import EXPOSED, MAIN, OUTLIERS, PLAIN, TRAININGS


def test_every_training_can_be_made():
    for name, training in TRAININGS.items():
        assert training.method in METHODS
        options = choose_estimator(dict(training.options))[1]
        chain = make_augmentation(training.augmentation, 10, Preprocess(32), options)
        assert (chain is None) == (training.augmentation == "none"), name


def test_plain_is_plain_and_outliers_go_to_methods_that_use_them():
    assert TRAININGS[PLAIN].augmentation == "none" and TRAININGS[PLAIN].outliers is None
    for training in EXPOSED.values():
        assert METHODS[training.method].uses_outliers and training.outliers in OUTLIERS.values()
    assert set(MAIN) <= set(TRAININGS)
