"""Images to compare on: the run's own where they are, made ones always."""

import numpy as np
import pytest
from command_folders import colour
from exported_files import calibrated

from backmix.data.folder import image_key
from backmix.data.load import load_source
from backmix.export.trial_images import LIMIT, MADE, made_images, trial_images
from backmix.runs.held_out import Share, Shares, write_shares


def test_made_images_are_always_the_same_and_all_different():
    made = made_images(24)
    assert made.shape == (MADE, 3, 24, 24) and made.dtype == np.uint8 and made.flags["C_CONTIGUOUS"]
    assert np.array_equal(made, made_images(24)) and len({image.tobytes() for image in made}) == MADE
    assert made.min() == 0 and made.max() == 255
    assert made_images(8).shape == (MADE, 3, 8, 8)


@pytest.fixture
def data(tmp_path):
    for number in range(70):
        colour(tmp_path / "data" / f"class {number % 2}" / f"{number}.png", (3 * number, 90, 60))
    return tmp_path / "data"


def names_of(data, numbers):
    source = load_source(str(data))
    return [image_key(source, number) for number in numbers]


def test_the_images_that_the_run_held_out(data, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    write_shares(run, Shares(str(data), test=Share(None, names_of(data, range(68)))))
    trial = trial_images(calibrated(), run)
    assert trial.own == LIMIT and trial.reason is None
    assert trial.images.shape == (LIMIT + MADE, 3, 16, 16) and len(trial.names) == LIMIT + MADE
    assert len(set(trial.names[:LIMIT])) == LIMIT and trial.names[-1] == f"made image {MADE - 1}"
    assert trial.images[0].std() > 0 and np.array_equal(trial.images[LIMIT:], made_images(16))


def test_those_calibrated_on_where_none_were_left_for_a_test(data, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    kept = names_of(data, (1, 2, 3))
    write_shares(run, Shares(str(data), calibration=Share(None, kept), test=Share(None, [])))
    trial = trial_images(calibrated(), run)
    assert trial.own == 3 and all(name.endswith(key) for name, key in zip(trial.names, kept))


def test_made_ones_alone_where_the_run_or_its_images_are_gone(data, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    trial = trial_images(calibrated(), run)
    assert trial.own == 0 and "does not say which images it held out" in trial.reason and len(trial.images) == MADE
    write_shares(run, Shares(str(tmp_path / "gone"), test=Share(None, names_of(data, (1,)))))
    assert "cannot be opened" in trial_images(calibrated(), run).reason
    write_shares(run, Shares(str(data), test=Share(None, names_of(data, (0,)))))
    broken = min(data.glob("class 0/*.png"))
    broken.write_bytes(broken.read_bytes()[:200])
    assert "none of the images that the run held out can be read" in trial_images(calibrated(), run).reason
