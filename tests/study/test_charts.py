"""Pictures of a study can be drawn from whole and from halved results."""

import io

import numpy as np
import pytest
from PIL import Image
from study_cells import made_study

from backmix.study.charts import alternative, make_charts, samples
from backmix.study.plan import PARTS
from backmix.study.results import Results
from backmix.study.setting import DigitsSetting


def opened(png):
    picture = Image.open(io.BytesIO(png))
    picture.load()
    return picture


def test_a_picture_for_each_part_the_same_each_time():
    results = Results(made_study(lambda cell: {"auroc": 0.6 + 0.05 * cell.seed}))
    charts = make_charts(results)
    assert list(charts) == list("abcd") and make_charts(results) == charts
    for key, png in charts.items():
        picture = opened(png)
        assert picture.width == 1040 and len(np.unique(np.asarray(picture.convert("L")))) > 10
        assert len(alternative(key)) > 40


def test_other_figures_are_another_picture():
    low, high = (make_charts(Results(made_study(lambda cell, a=a: {"auroc": a}))) for a in (0.6, 0.8))
    assert low["a"] != high["a"] and low["b"] != high["b"]


@pytest.mark.parametrize("keep", [(), ("plain",), ("plain", "swap, true masks")])
def test_halved_results(keep):
    study = made_study(seeds=(0,))
    study["cells"] = [cell for cell in study["cells"] if cell["training"] in keep]
    charts = make_charts(Results(study))
    assert set(charts) <= set(PARTS) and ("d" in charts) == bool(keep)


def test_without_other_backgrounds_or_priors():
    study = made_study(priors=[])
    for cell in study["cells"]:
        cell["misleading_index"]["max_logit"] = None
        cell["accuracy_independent"] = None
    assert list(make_charts(Results(study))) == ["b", "c", "d"]


def test_samples_show_known_and_unknown_objects():
    setting = DigitsSetting()
    picture = opened(samples(setting.sources(0.95, 0), setting.known))
    assert picture.width == 1040 and picture.height > 500
    assert len(np.unique(np.asarray(picture).reshape(-1, picture.getbands().__len__()), axis=0)) > 1000
