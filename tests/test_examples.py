"""The examples run, and stay short enough to read on one screen."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_is_under_60_lines(path):
    assert len(path.read_text().splitlines()) < 60


def test_plain_loop_learns():
    out = run("plain_loop.py", "6")
    accuracy = float(re.search(r"closed accuracy ([\d.]+)", out).group(1))
    assert accuracy > 0.5, "six classes: chance is 0.17"


@pytest.mark.parametrize("model", ["resnet10t", "test_vit"])
def test_timm_backbone_runs(model):
    out = run("timm_backbone.py", model, "1")
    assert re.search(rf"{model}: closed accuracy 0\.\d+, AUROC 0\.\d+", out)
