"""One cell: what it leaves, what it goes on from, what it refuses."""

import dataclasses
import json
from functools import partial

import pytest
import torch
from published_stand_in import MODEL, put_weights

from backmix.benchmark import cell
from backmix.benchmark.cell import finished, plan_cell, run_cell
from backmix.benchmark.estimate import estimate_seconds, seconds_per_step
from backmix.benchmark.grid import Cell
from backmix.benchmark.grid_options import GridOptions
from backmix.benchmark.recipe import RecipeRow
from backmix.benchmark.recipes import FROZEN, RECIPES
from backmix.benchmark.results import row_from
from backmix.benchmark.trial_data import load_trial
from backmix.classifier import OpenSetClassifier
from backmix.data.source import Subset
from backmix.errors import RunError
from backmix.fit.feature_training import train_on_features
from backmix.inference.engine import TorchEngine

CELL = Cell("digits", "neal", "a", "softmax", "backmix", 0, "cpu", "patch_side=0.5")
OPTIONS = GridOptions(epochs=2, workers=1, precision="fp32", detectors=("method", "msp"))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells") / CELL.name
    return folder, run_cell(CELL, folder, OPTIONS)


def test_what_a_cell_leaves(done):
    folder, metrics = done
    assert metrics == finished(folder) == json.loads((folder / "metrics.json").read_text())
    rows = [row_from(entry, "here") for entry in metrics["rows"]]
    assert [row.detector for row in rows] == ["method", "msp"]
    for row in rows:
        assert (row.protocol, row.split_list, row.trial, row.method) == ("digits", "neal", "a", "softmax")
        assert (row.augmentation, row.variant, row.recipe, row.seed) == ("backmix", "patch_side=0.5", "cpu", 0)
        assert 0.3 < row.auroc <= 1 and 0.2 < row.accuracy <= 1 and row.oscr <= row.accuracy
        assert row.epochs == 2 and row.precision == "fp32" and row.seconds > 0 and row.known_images > 0
    assert metrics["settings"]["training"]["epochs"] == 2 and metrics["environment"]["packages"]["torch"]
    assert len(metrics["history"]) == 2
    # The folder is a run that every other command takes; the checkpoint is no longer needed.
    assert OpenSetClassifier.load(folder).classes == list(plan_cell(CELL, OPTIONS).trial.train.classes)
    assert not (folder / "checkpoint.pt").exists()


def test_the_options_of_a_variant_reach_backmix(done, tmp_path):
    _, metrics = done
    assert metrics["settings"]["augmentation_options"]["patch_side"] == 0.5
    plain = run_cell(dataclasses.replace(CELL, variant=""), tmp_path / "plain", OPTIONS)
    assert plain["rows"][0]["auroc"] != metrics["rows"][0]["auroc"]


def test_a_finished_cell_is_left_alone(done):
    folder, metrics = done
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert run_cell(CELL, folder, OPTIONS) == metrics
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written


def test_another_setting_is_refused_by_name(done, tmp_path):
    folder, _ = done
    with pytest.raises(RunError, match=r"training\.epochs 2 -> 3"):
        run_cell(CELL, folder, dataclasses.replace(OPTIONS, epochs=3))
    begun = tmp_path / "begun"
    with pytest.raises(ZeroDivisionError):
        run_cell(CELL, begun, OPTIONS, on_epoch=lambda report: 1 // 0)
    with pytest.raises(RunError, match=r"training\.epochs 2 -> 3"):
        run_cell(CELL, begun, dataclasses.replace(OPTIONS, epochs=3))


def test_a_refused_option_does_not_bind_a_cell(tmp_path):
    learns = dataclasses.replace(CELL, method="outlier-exposure", augmentation="none", variant="")
    wrong = dataclasses.replace(OPTIONS, epochs=1, outliers="nowhere")
    with pytest.raises(ValueError, match="nowhere"):
        run_cell(learns, tmp_path / "cell", wrong)
    done = run_cell(learns, tmp_path / "cell", dataclasses.replace(wrong, outliers="backgrounds"))
    assert done["settings"]["outliers"] == "backgrounds" and done["rows"]


def test_an_interrupted_cell_goes_on_and_ends_alike(done, tmp_path):
    folder, metrics = done
    epochs = []

    def stop(report):
        epochs.append(report.epoch)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cell(CELL, tmp_path / "cut", OPTIONS, on_epoch=stop)
    assert finished(tmp_path / "cut") is None and epochs == [0]
    again = run_cell(CELL, tmp_path / "cut", OPTIONS, on_epoch=lambda report: epochs.append(report.epoch))
    assert epochs == [0, 1]
    without = {"seconds"}
    for one, other in zip(metrics["rows"], again["rows"], strict=True):
        assert {k: v for k, v in one.items() if k not in without} == {
            k: v for k, v in other.items() if k not in without
        }
    kept, made = (OpenSetClassifier.load(f).network.state_dict() for f in (folder, tmp_path / "cut"))
    assert all(torch.equal(kept[name], made[name]) for name in kept)


def test_what_goes_on_keeps_its_precision(tmp_path, monkeypatch):
    auto = dataclasses.replace(OPTIONS, precision="auto", epochs=1)
    monkeypatch.setattr("backmix.train.recipe.resolve_precision", lambda name: "bf16" if name == "auto" else name)
    with pytest.raises(KeyboardInterrupt):

        def stop(report):
            raise KeyboardInterrupt

        run_cell(CELL, tmp_path / "cut", auto, on_epoch=stop)
    monkeypatch.setattr("backmix.train.recipe.resolve_precision", lambda name: "fp32" if name == "auto" else name)
    assert run_cell(CELL, tmp_path / "cut", auto)["rows"][0]["precision"] == "bf16"


def test_paired_cells_share_all_but_the_augmentation():
    one = plan_cell(CELL, OPTIONS)
    other = plan_cell(dataclasses.replace(CELL, augmentation="none", variant=""), OPTIONS)
    assert one.trial == other.trial and one.setting == other.setting
    differ = {name for name in one.settings if one.settings[name] != other.settings[name]}
    assert differ == {"cell", "augmentation", "augmentation_options"}


def test_names_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match="no protocol"):
        plan_cell(dataclasses.replace(CELL, protocol="cifar11"), OPTIONS)
    with pytest.raises(ValueError, match="no recipe"):
        plan_cell(dataclasses.replace(CELL, recipe="quick"), OPTIONS)


def test_seconds_add_up_over_processes(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(cell.time, "monotonic", lambda: now[0])
    first = cell.Clock(tmp_path / "seconds.json")
    now[0] += 2.5
    assert first.store() == 2.5
    now[0] += 4  # Never stored: as if the process had been killed here.
    second = cell.Clock(tmp_path / "seconds.json")
    now[0] += 1
    assert second.store() == 3.5 and second.store() == 3.5
    assert json.loads((tmp_path / "seconds.json").read_text()) == {"seconds": 3.5}


def a_fifth(*given, **options):
    data = load_trial(*given, **options)
    tests = {name: Subset(source, range(0, len(source), 5)) for name, source in data.tests.items()}
    return dataclasses.replace(data, train=Subset(data.train, range(0, len(data.train), 5)), tests=tests)


@pytest.fixture
def frozen(monkeypatch, tmp_path):
    """The recipe with a tiny network whose published weights lie in a cache of the hub, and an empty cache."""
    put_weights(monkeypatch, tmp_path / "hub")
    monkeypatch.setenv("BACKMIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("backmix.inference.engine.find_spec", lambda name: None)  # PyTorch computes.
    monkeypatch.setattr("backmix.benchmark.recipe.published_size", lambda name: 64)
    monkeypatch.setattr("backmix.fit.head.train_on_features", partial(train_on_features, steps=20))
    monkeypatch.setattr(cell, "load_trial", a_fifth)
    row = RecipeRow(MODEL, frozen=True)
    monkeypatch.setitem(RECIPES, "frozen", dataclasses.replace(FROZEN, rows=(row,)))
    return dataclasses.replace(CELL, recipe="frozen", augmentation="none", variant="")


def test_a_frozen_backbone_computes_features_once_for_all_seeds_and_methods(frozen, tmp_path, monkeypatch):
    options = GridOptions(workers=1, detectors=("method", "msp"))
    computed = []

    def look(self, images, of=TorchEngine.pooled):
        computed.append(len(images))
        return of(self, images)

    monkeypatch.setattr(TorchEngine, "pooled", look)
    metrics = run_cell(frozen, tmp_path / "one", options)
    images = metrics["rows"][0]["train_images"] + metrics["rows"][0]["known_images"]
    assert sum(computed) >= images
    rows = [row_from(entry, "here") for entry in metrics["rows"]]
    assert [row.detector for row in rows] == ["method", "msp"]
    for row in rows:
        assert (row.recipe, row.model, row.epochs, row.precision) == ("frozen", MODEL, 0, "fp32")
        assert 0 < row.auroc <= 1 and row.seconds > 0  # Random features say nothing about digits.
    assert metrics["settings"]["training"] == {"trained": "head", "seed": 0, "views": 3}
    assert metrics["settings"]["image_size"] == 64 and metrics["history"] == []
    assert metrics["head"]["unknown_score"] is None and metrics["head"]["computed"] > 0
    assert "digits, 32 px, are enlarged to 64 px" in metrics["notes"][-1]
    computed.clear()
    other = run_cell(dataclasses.replace(frozen, seed=1), tmp_path / "seed", options)
    arpl = run_cell(dataclasses.replace(frozen, method="arpl"), tmp_path / "method", options)
    assert computed == [] and other["head"]["computed"] == arpl["head"]["computed"] == 0
    assert arpl["rows"][0]["auroc"] != metrics["rows"][0]["auroc"]
    one, two = (OpenSetClassifier.load(tmp_path / name).network.head.head.weight for name in ("one", "seed"))
    assert not torch.equal(one, two), "another seed holds out other images"
    mixed = run_cell(dataclasses.replace(frozen, augmentation="backmix"), tmp_path / "mixed", options)
    assert mixed["head"]["mixed_views"]["computed"] == 3 * metrics["rows"][0]["train_images"] == sum(computed)
    assert OpenSetClassifier.load(tmp_path / "mixed").frozen
    assert run_cell(frozen, tmp_path / "one", options) == metrics, "a finished cell is left alone"


def test_a_frozen_backbone_says_what_it_cannot_train(frozen, tmp_path):
    with pytest.raises(ValueError, match="rcssr learns from more"):
        run_cell(dataclasses.replace(frozen, method="rcssr"), tmp_path / "a", GridOptions())
    with pytest.raises(ValueError, match="has no epochs"):
        run_cell(frozen, tmp_path / "b", GridOptions(epochs=3))
    with pytest.raises(ValueError, match="outlier-exposure learns from outliers, and recipe frozen makes none"):
        run_cell(dataclasses.replace(frozen, method="outlier-exposure"), tmp_path / "c", GridOptions(workers=1))


def test_the_time_of_a_frozen_backbone_is_that_of_its_images(frozen):
    mixed = dataclasses.replace(frozen, augmentation="backmix")
    found = estimate_seconds([frozen, mixed], GridOptions(), measure_cell=lambda cell, plan: 0.5)
    images = plan_cell(frozen, GridOptions()).setting.images
    assert found == {frozen.name: 0.5 * images, mixed.name: 2.0 * images}
    assert 0 < seconds_per_step(frozen, plan_cell(frozen, GridOptions())) < 5
