"""How long a grid will take."""

import pytest

from backmix.benchmark.cell import plan_cell
from backmix.benchmark.estimate import estimate_seconds, seconds_per_step
from backmix.benchmark.grid import Cell, make_grid
from backmix.benchmark.grid_options import GridOptions

CELLS = make_grid([("digits", "neal", ["a", "b"])], seeds=[0, 1])


def test_each_kind_is_measured_once_and_multiplied():
    measured = []

    def measure(cell, plan):
        measured.append(cell.augmentation)
        return 2.0 if cell.augmentation == "none" else 3.0

    found = estimate_seconds(CELLS, GridOptions(epochs=4), measure_cell=measure)
    assert sorted(measured) == ["backmix", "none"] and set(found) == {cell.name for cell in CELLS}
    for cell in CELLS:
        setting = plan_cell(cell, GridOptions(epochs=4)).setting
        steps = 4 * (setting.images // setting.options.batch_size)
        # 40 % of the steps see images of three quarters of the side.
        assert found[cell.name] == pytest.approx((2 if cell.augmentation == "none" else 3) * steps * (1 - 0.45 * 0.4))


@pytest.mark.parametrize(
    "method, augmentation, variant",
    [("softmax", "none", ""), ("outlier-exposure", "backmix", "foreground=masks"), ("conosr", "cutmix+backmix", "")],
)
def test_steps_of_every_kind_can_be_measured(method, augmentation, variant):
    cell = Cell("digits", "", "a", method, augmentation, 0, "cpu", variant)
    assert 0 < seconds_per_step(cell, plan_cell(cell, GridOptions())) < 60
