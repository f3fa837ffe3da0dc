"""Runs that reports are written about; to be read only."""

import pytest
import torch

from backmix.cli.fit_command import fit_command
from backmix.fit.arguments import FitArguments


@pytest.fixture(scope="session")
def mixed_run(pictures, tmp_path_factory):
    """Trained with BackMix for two epochs on a folder without splits, so that it holds out images itself."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("mixed") / "colours"
    arguments = FitArguments(
        str(pictures / "train"),
        known_classes="red,green,blue",
        model="compact-s",
        image_size=32,
        epochs=2,
        batch_size=16,
        augmentation="backmix",
        near_duplicates=False,
    )
    fit_command(arguments, run)
    return run
