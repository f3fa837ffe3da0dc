"""The demonstration, at a size that takes seconds."""

import json

import pytest
from PIL import Image
from rich.console import Console

from backmix.demo.run import FIGURES, run_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    console = Console(record=True, width=120, force_terminal=False)
    return run_demo(out, prior=0.8, seeds=2, epochs=2, console=console), out, console.export_text()


def test_metrics_json_holds_mean_and_sd_of_both_kinds(demo):
    metrics, out, _ = demo
    written = json.loads((out / "metrics.json").read_text())
    assert written == metrics
    for name in ("none", "backmix", "difference"):
        for figure in FIGURES:
            entry = written[name][figure]
            assert len(entry["values"]) == 2
            assert entry["mean"] == pytest.approx(sum(entry["values"]) / 2)
            assert entry["sd"] == pytest.approx(abs(entry["values"][0] - entry["values"][1]) / 2**0.5)


def test_difference_is_paired_by_seed(demo):
    metrics, _, _ = demo
    pairs = zip(metrics["none"]["auroc"]["values"], metrics["backmix"]["auroc"]["values"], strict=True)
    assert metrics["difference"]["auroc"]["values"] == pytest.approx([b - a for a, b in pairs])


def test_setting_is_stated(demo):
    metrics, _, text = demo
    assert metrics["setting"]["prior"] == 0.8 and metrics["setting"]["contrast"] == 0.25
    assert metrics["setting"]["training"]["epochs"] == 2
    assert metrics["setting"]["training"]["precision"] == "fp32"  # Whatever the machine is quick in.
    assert "patch_side=0.25" in metrics["setting"]["backmix"]
    assert "80%" in text
    assert "AUROC" in text


def test_picture_can_be_looked_at(demo):
    _, out, _ = demo
    picture = Image.open(out / "mixing.png").convert("RGB")
    assert min(picture.size) > 400
    assert len(picture.getcolors(2**24)) > 1000, "a picture of photographs has many colours"


def test_one_seed_has_no_deviation(tmp_path):
    metrics = run_demo(tmp_path, seeds=1, epochs=1, precision="bf16", console=Console(quiet=True))
    assert metrics["none"]["auroc"]["sd"] is None
    assert metrics["setting"]["training"]["precision"] == "bf16"
