"""A cell: trained once, measured in every way."""

from dataclasses import replace

import pytest
import torch

from backmix import metrics
from backmix.data.digits import DigitsOnTextures
from backmix.fit.digits import OPTIONS
from backmix.study.cell import KEPT, PAIRS, Cell, audit_of, measure, run_cell
from backmix.study.setting import DigitsSetting, PhotosSetting, Sources

SHORT = replace(OPTIONS, epochs=1, precision="fp32")


@pytest.fixture(scope="module")
def found():
    return run_cell(DigitsSetting(options=SHORT), Cell("plain", 0.95, 0, estimated=True))


def test_every_figure_is_there_and_in_its_range(found):
    assert 0 <= found["accuracy"] <= 1 and 0 <= found["accuracy_independent"] <= 1
    for score in ("max_logit", "msp", "method"):
        assert list(found["auroc"][score]) == list(PAIRS)
        assert all(0 <= value <= 1 for value in found["auroc"][score].values())
        of = found["auroc"][score]
        assert found["misleading_index"][score] == pytest.approx(of["Kk-Qq"] - of["Kk-Qk"])
    # The score of softmax itself is the largest logit.
    assert found["auroc"]["method"]["Kk-Qk"] == pytest.approx(found["auroc"]["max_logit"]["Kk-Qk"], abs=1e-3)
    assert found["spread"]["inside"] > 0 and found["spread"]["outside"] > 0
    for audit in (found["audit"], found["audit_estimated"]):
        assert set(KEPT) <= set(audit) and audit["images"] > 400
    assert found["audit"]["background_gap"] != found["audit_estimated"]["background_gap"]


def test_a_cell_is_the_same_each_time(found):
    again = run_cell(DigitsSetting(options=SHORT), Cell("plain", 0.95, 0, estimated=True))
    assert again == found


def test_the_auroc_of_known_and_unknown_on_known_backgrounds_is_that_of_the_test(small_classifier):
    test = DigitsOnTextures("test", prior=0.9)
    small_classifier.calibrate(DigitsOnTextures("val"))
    found = measure(small_classifier, Cell("plain", 0.9, 0), Sources(test, test, test))
    result = small_classifier.evaluate(test)
    assert found["accuracy"] == pytest.approx(result["accuracy"])
    for score in ("max_logit", "msp"):
        assert found["auroc"][score] == {"Kk-Qk": pytest.approx(result["detectors"][score]["auroc"], abs=1e-6)}
    assert found["misleading_index"]["max_logit"] is None and found["accuracy_independent"] is None
    assert "audit_estimated" not in found


def test_pairs_take_objects_and_backgrounds_from_where_they_say(small_classifier):
    small_classifier.calibrate(DigitsOnTextures("val"))
    sources = DigitsSetting().sources(0.8, 0)
    found = measure(small_classifier, Cell("plain", 0.8, 0), sources)

    def scores(source, known):
        images, labels = source.arrays().images, source.labels
        images = images[(labels < 6) == known]
        with torch.no_grad():
            features = small_classifier.network.backbone(small_classifier.preprocess.normalise(images))
            return -small_classifier.network.head.logits(features).amax(1)

    expected = metrics.auroc(scores(sources.elsewhere, True), scores(sources.test, False))
    assert found["auroc"]["max_logit"]["Kq-Qk"] == pytest.approx(expected, abs=1e-4)


def test_without_such_outliers_there_is_no_cell():
    photos = DigitsOnTextures("val")
    setting = PhotosSetting((photos, photos), list("012345"), "photos", options=SHORT)
    assert run_cell(setting, Cell("entropic, pure backgrounds", None, 0)) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "training", ["entropic, outlier set", "outlier-exposure, estimated backgrounds", "swap, saliency"]
)
def test_other_trainings(training):
    found = run_cell(DigitsSetting(options=SHORT), Cell(training, 0.8, 1))
    assert found["loss"] > 0 and 0 <= found["auroc"]["max_logit"]["Kk-Qk"] <= 1


def test_an_audit_in_memory_is_that_of_the_command(small_classifier, tmp_path):
    from backmix.cli.audit_command import AuditArguments, audit_command

    small_classifier.calibrate(DigitsOnTextures("val"))
    small_classifier.save(tmp_path / "run")
    arguments = AuditArguments(str(tmp_path / "run"), "digits:prior=0.95,known=012345")
    asked = audit_command(arguments, tmp_path / "audit")
    found = audit_of(small_classifier, DigitsOnTextures("test", prior=0.95), "true", Cell("plain", 0.95, 0))
    assert found["accuracy"]["original"] == asked["accuracy"]["original"]
    assert found["accuracy"]["only-background"] == asked["accuracy"]["only-background"]
    assert found["images"] == asked["images"]["mixed-random"]
