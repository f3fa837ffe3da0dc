"""Import paths that docs, examples and others named in 0.1.0, and that lead to the same modules still."""

import importlib
import subprocess
import sys

import pytest

import backmix


@pytest.mark.parametrize("old", [name for name, home in backmix.MOVED.items() if len(home.split()) == 1])
def test_a_path_of_old_gives_the_module_where_it_is_now(old):
    there = importlib.import_module(f"backmix.{backmix.MOVED[old]}")
    assert importlib.import_module(f"backmix.{old}") is there
    assert there.__name__ == there.__spec__.name == f"backmix.{backmix.MOVED[old]}"


@pytest.mark.parametrize(
    "line",
    [
        "import backmix.commands.fit as fit; fit.fit_command, fit.write_shares",
        "from backmix.commands.predict_paths import find_images, read_list",
        "from backmix.data import load_source, open_image",
        "from backmix.data.images import open_image",
        "from backmix.demo import COPIES, IMAGE_SIZE, MODEL, OPTIONS",
        "from backmix.fit import FitReport, auto_options, fit",
        "from backmix.hub import save_to_hub",
        "from backmix.metrics import auroc; from backmix.metrics_variants import auroc_arpl",
        "from backmix.preprocess import Preprocess",
        "from backmix.recipe import TrainOptions",
        "from backmix.checkpoint import load_checkpoint, save_checkpoint, write_atomically, write_json",
        "from backmix.class_thresholds import decide, fit_class_thresholds",
        "from backmix.shared_copy import write_shared_copy",
        "from backmix.square import central_square; from backmix.benchmark.trial_tables import trial_sheets",
        "from backmix.shares import open_share, read_shares",
        "from backmix.threshold import ConformalThreshold, min_held_out",
        "from backmix.train import EpochReport, make_accelerator, train, train_step",
    ],
)
def test_what_was_imported_by_name_is_there_in_a_fresh_program(line):
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_module_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError, match="backmix.commands.nothing"):
        importlib.import_module("backmix.commands.nothing")
