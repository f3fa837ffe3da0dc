"""What holds for all tests, and what several share: coloured pictures and a classifier trained on them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

# Deadlines per example fail on a busy machine without anything being wrong.
settings.register_profile("backmix", deadline=None)
settings.load_profile("backmix")

COLOURS = {"red": (200, 40, 40), "green": (40, 190, 60), "blue": (50, 60, 200), "grey": (128, 128, 128)}


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """What is kept between runs goes into a folder of the tests, not into the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKMIX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The tensors are tiny: a second thread costs more than it brings, and one thread adds in one order."""
    torch.set_num_threads(1)


def write_pictures(folder: Path, per_class: int, seed: int, size: int = 40) -> None:
    random = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = random.normal(colour, 25, (size, size, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """train/ and test/ of pictures of four colours, to be read only."""
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder / "train", 40, seed=1)
    write_pictures(folder / "test", 6, seed=2)
    return folder


@pytest.fixture(scope="session")
def trained(pictures, tmp_path_factory) -> Path:
    """A run that knows red, green and blue; to be read only."""
    from backmix.cli.fit_command import fit_command
    from backmix.fit.arguments import FitArguments

    run = tmp_path_factory.mktemp("runs") / "colours"
    # In float32 on every machine: exported files compute in it, and are compared with this run.
    options = {"model": "compact-s", "image_size": 32, "epochs": 6, "lr": 0.05, "precision": "fp32"}
    arguments = FitArguments(str(pictures), known_classes="red,green,blue", **options)
    fit_command(arguments, run)
    return run
