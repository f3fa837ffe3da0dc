"""Automatic precision: bf16 where there are units for it, concrete wherever it is kept."""

from dataclasses import asdict, replace

import pytest
import torch
import yaml

from backmix import OpenSetClassifier, TrainOptions
from backmix.fit.begun import begun_choices
from backmix.models.precision import has_bf16_units, resolve_precision
from backmix.train.loop import make_accelerator


@pytest.fixture
def no_accelerator(monkeypatch):
    for device in (torch.cuda, torch.xpu, torch.backends.mps):
        monkeypatch.setattr(device, "is_available", lambda: False)


@pytest.mark.parametrize(("units", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_processor_takes_bf16_only_where_it_has_units_for_it(units, expected, no_accelerator, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: units)
    assert resolve_precision() == resolve_precision("auto") == expected
    assert TrainOptions().precision == expected
    assert OpenSetClassifier(["a", "b"], model="compact-s").precision == expected
    assert make_accelerator("auto").mixed_precision == ("bf16" if units else "no")


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp32")])
def test_an_accelerator_decides_where_there_is_one(supported, expected, no_accelerator, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert resolve_precision() == expected


def test_a_torch_that_cannot_say_gets_float32(no_accelerator, monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert not has_bf16_units()
    assert resolve_precision() == "fp32"


def test_what_is_asked_for_stays():
    for precision in ("bf16", "fp32"):
        assert resolve_precision(precision) == precision
        assert TrainOptions(precision=precision).precision == precision


def test_options_hold_what_auto_came_to():
    options = TrainOptions()
    assert options.precision in ("bf16", "fp32")
    assert asdict(replace(options, seed=3))["precision"] == options.precision


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="precision is one of auto, bf16, fp32; got 'fp16'"):
        resolve_precision("fp16")


def test_a_resumed_run_goes_on_in_the_precision_it_began_in(tmp_path):
    assert "precision" not in begun_choices(tmp_path)
    content = {"format": 1, "arguments": {"precision": "auto"}, "training": {"precision": "bf16"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    assert begun_choices(tmp_path)["precision"] == "bf16"
