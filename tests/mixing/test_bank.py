import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.mixing.bank import ForegroundBank, resize_map


def slow_update(bank_maps, index, maps, momentum):
    """The paper's running average, image by image and cell by cell."""
    result = bank_maps.clone()
    for number, image in enumerate(index.tolist()):
        for row in range(maps.shape[1]):
            for column in range(maps.shape[2]):
                old = float(result[image, row, column])
                result[image, row, column] = (1 - momentum) * old + momentum * float(maps[number, row, column])
    return result


def test_starts_at_the_release_value_with_nothing_seen():
    assert torch.equal(ForegroundBank(3).maps, torch.full((3, 8, 8), 0.5))
    assert torch.equal(ForegroundBank(3, dtype=torch.uint8).maps, torch.full((3, 8, 8), 128, dtype=torch.uint8))
    assert not ForegroundBank(3).seen.any()


def test_update_equals_the_formula_in_a_loop():
    generator = torch.Generator().manual_seed(0)
    bank = ForegroundBank(7, grid=3, momentum=0.3)
    bank.maps.copy_(torch.rand(7, 3, 3, generator=generator))
    index, maps = torch.tensor([5, 0, 3]), torch.rand(3, 3, 3, generator=generator)
    expected = slow_update(bank.maps, index, maps, 0.3)
    bank.update(index, maps)
    torch.testing.assert_close(bank.maps, expected)
    assert bank.seen.tolist() == [True, False, False, True, False, True, False]


def test_momentum_one_keeps_the_new_map_whatever_the_old_was():
    bank = ForegroundBank(1, momentum=1.0)
    bank.maps.fill_(float("inf"))
    bank.maps[0, 0, 0] = 0.3
    new = torch.rand(1, 8, 8)
    bank.maps.clamp_(max=1)
    bank.update(torch.tensor([0]), new)
    assert torch.equal(bank.maps, new)


def test_a_momentum_of_one_update_is_for_that_update_alone():
    bank = ForegroundBank(3, momentum=0.25)
    first, second = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    bank.update(torch.arange(3), first, momentum=1.0)
    assert torch.equal(bank.maps, first)
    bank.update(torch.arange(3), second)
    torch.testing.assert_close(bank.maps, 0.75 * first + 0.25 * second)


@pytest.mark.parametrize("updates", [1, 2, 7, 30])
def test_check_4_a_constant_map_is_approached_by_the_power_of_momentum(updates):
    bank = ForegroundBank(2)
    constant = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(updates):
        bank.read(torch.tensor([0, 1]))  # Reading in between rescales nothing, which is trap 1 of the release.
        bank.update(torch.tensor([1]), constant)
    torch.testing.assert_close(bank.maps[1:], constant + (0.5 - constant) * 0.9**updates)
    assert (bank.maps[0] == 0.5).all()


def test_check_4_holds_for_bytes_in_expectation():
    constant, updates, images = 0.3, 7, 4000
    bank = ForegroundBank(images, grid=2, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(2)
    for _ in range(updates):
        bank.update(torch.arange(images), torch.full((images, 2, 2), constant), generator=generator)
    expected = constant + (128 / 255 - constant) * 0.9**updates
    # 16 000 cells, each off by less than 1.2 bytes: the mean is right to 0.04 bytes.
    assert float(bank.read(torch.arange(images)).mean()) == pytest.approx(expected, abs=0.04 / 255)


def test_reading_changes_nothing():
    for dtype in (torch.float32, torch.uint8):
        bank = ForegroundBank(5, dtype=dtype)
        before = bank.maps.clone()
        maps = bank.read(torch.tensor([0, 4, 4]))
        assert maps.dtype == torch.float32
        maps.zero_()
        assert torch.equal(bank.maps, before) and not bank.seen.any()


@given(level=st.integers(0, 255), seed=st.integers(0, 2**31))
def test_bytes_are_not_stuck_away_from_a_constant_map(level, seed):
    bank = ForegroundBank(1, grid=4, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(seed)
    constant = torch.full((1, 4, 4), level / 255)
    for _ in range(120):
        bank.update(torch.tensor([0]), constant, generator=generator)
    # Plain rounding would stop 5 bytes short, where a tenth of the distance rounds to nothing.
    assert (bank.read(torch.tensor([0])) - constant).abs().max() <= 1 / 255 + 1e-6


@given(old=st.integers(0, 255), new=st.floats(0, 1), momentum=st.floats(0.01, 1), seed=st.integers(0, 2**31))
def test_bytes_move_to_one_of_the_two_nearest(old, new, momentum, seed):
    bank = ForegroundBank(1, grid=1, momentum=momentum, dtype=torch.uint8)
    bank.maps.fill_(old)
    bank.update(torch.tensor([0]), torch.full((1, 1, 1), new), generator=torch.Generator().manual_seed(seed))
    exact = (1 - momentum) * old + momentum * new * 255
    assert abs(float(bank.maps) - exact) < 1 + 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_cells_not_observed_stay_exactly_as_they_were(dtype):
    generator = torch.Generator().manual_seed(3)
    bank = ForegroundBank(64, dtype=dtype)
    bank.maps.copy_((torch.rand(64, 8, 8, generator=generator) * (255 if dtype == torch.uint8 else 1)).to(dtype))
    before = bank.maps.clone()
    observed = torch.rand(64, 8, 8, generator=generator) < 0.5
    for _ in range(20):
        bank.update(torch.arange(64), torch.zeros(64, 8, 8), observed, generator=generator)
    assert torch.equal(bank.maps[~observed], before[~observed])
    slack = 8 if dtype == torch.uint8 else 0
    assert (bank.maps[observed].float() <= before[observed].float() * 0.122 + slack).all()


def test_an_image_of_which_nothing_was_observed_stays_unseen():
    bank = ForegroundBank(2)
    observed = torch.zeros(2, 8, 8, dtype=torch.bool)
    observed[1, 3, 3] = True
    bank.update(torch.tensor([0, 1]), torch.ones(2, 8, 8), observed)
    assert bank.seen.tolist() == [False, True]


def test_all_seen_follows_every_change():
    bank = ForegroundBank(3)
    assert not bank.all_seen
    bank.update(torch.tensor([0, 1]), torch.rand(2, 8, 8))
    assert not bank.all_seen
    bank.update(torch.tensor([2, 0]), torch.rand(2, 8, 8))
    assert bank.all_seen and bank.all_seen
    bank.update(torch.tensor([1]), torch.rand(1, 8, 8))
    assert bank.all_seen
    bank.seen[1] = False
    assert not bank.all_seen
    bank.seen[1] = True
    assert bank.all_seen
    bank.load_state_dict(ForegroundBank(3).state_dict())
    assert not bank.all_seen
    bank.seen = torch.ones(3, dtype=torch.bool)
    assert bank.all_seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_broken_cells_are_left_out_and_values_cut(dtype):
    bank = ForegroundBank(2, grid=2, momentum=0.5, dtype=dtype)
    bank.maps.copy_(torch.tensor([0.0, 1.0])[:, None, None] * (255 if dtype == torch.uint8 else 1))
    maps = torch.tensor([[[float("nan"), float("inf")], [5.0, 0.0]], [[float("-inf"), -3.0], [1.0, 0.0]]])
    bank.update(torch.tensor([0, 1]), maps, generator=torch.Generator().manual_seed(0))
    expected = torch.tensor([[[0, 0], [0.5, 0]], [[1, 0.5], [1, 0.5]]])
    torch.testing.assert_close(bank.read(torch.tensor([0, 1])), expected, atol=0.5 / 255 + 1e-6, rtol=0)
    assert bank.seen.all()


def test_an_index_that_stands_twice_takes_one_of_its_maps():
    bank = ForegroundBank(1, grid=1, momentum=1.0)
    bank.update(torch.tensor([0, 0]), torch.tensor([0.2, 0.7])[:, None, None])
    assert float(bank.maps) in (pytest.approx(0.2), pytest.approx(0.7))


def test_the_rounding_follows_the_generator():
    def run(seed):
        bank = ForegroundBank(50, dtype=torch.uint8)
        bank.update(torch.arange(50), torch.full((50, 8, 8), 0.77), generator=torch.Generator().manual_seed(seed))
        return bank.maps

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_imagenet_fits_in_100_megabytes():
    bank = ForegroundBank(1_281_167)
    assert bank.maps.dtype == torch.uint8
    assert sum(b.numel() * b.element_size() for b in bank.buffers()) <= 100e6
    index = torch.tensor([0, 1_281_166])
    bank.update(index, torch.ones(2, 8, 8))
    assert (bank.read(index) > 0.5).all()


def test_small_banks_are_floats_and_the_choice_is_ours():
    assert ForegroundBank(50_000).maps.dtype == torch.float32
    assert ForegroundBank(10, dtype=torch.uint8).maps.dtype == torch.uint8


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_state_survives_a_file_without_pickle(dtype):
    bank = ForegroundBank(6, grid=5, dtype=dtype)
    bank.update(torch.tensor([1, 4]), torch.rand(2, 5, 5), generator=torch.Generator().manual_seed(0))
    file = io.BytesIO()
    torch.save(bank.state_dict(), file)
    file.seek(0)
    other = ForegroundBank(6, grid=5, dtype=dtype)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.maps, bank.maps) and torch.equal(other.seen, bank.seen)


def test_bytes_do_not_load_as_floats_nor_floats_as_bytes():
    floats, whole = ForegroundBank(2), ForegroundBank(2, dtype=torch.uint8)
    with pytest.raises(ValueError, match="saved bank holds torch.uint8, this one torch.float32"):
        floats.load_state_dict(whole.state_dict())
    with pytest.raises(ValueError, match="saved bank holds torch.float32, this one torch.uint8"):
        whole.load_state_dict(floats.state_dict())


def test_a_cast_of_the_whole_model_keeps_the_scale():
    bank = ForegroundBank(2).to(torch.bfloat16)
    bank.update(torch.tensor([1]), torch.ones(1, 8, 8))
    torch.testing.assert_close(bank.read(torch.tensor([0, 1]))[:, 0, 0], torch.tensor([0.5, 0.55]), atol=4e-3, rtol=0)


@given(size=st.integers(1, 20), grid=st.integers(1, 10), value=st.floats(0, 1))
def test_resizing_keeps_a_constant(size, grid, value):
    maps = resize_map(torch.full((2, size, size), value), grid)
    assert maps.shape == (2, grid, grid)
    torch.testing.assert_close(maps, torch.full_like(maps, value))


def test_resizing_downward_averages_areas():
    maps = torch.arange(36.0).view(1, 6, 6)
    expected = maps.view(3, 2, 3, 2).mean((1, 3))[None]
    torch.testing.assert_close(resize_map(maps, 3), expected)
    assert resize_map(maps, 6) is maps


def test_maps_of_another_grid_are_resampled():
    bank = ForegroundBank(1, grid=2, momentum=1.0)
    maps = torch.zeros(1, 4, 4)
    maps[0, :2, :2] = 1
    bank.update(torch.tensor([0]), maps)
    assert torch.equal(bank.maps[0], torch.tensor([[1.0, 0], [0, 0]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_images": 0}, "at least one image and one cell; got 0 images"),
        ({"num_images": 3, "grid": 0}, "at least one image and one cell; got 3 images, grid 0"),
        ({"num_images": 3, "momentum": 0.0}, "momentum is the weight of the new map"),
        ({"num_images": 3, "momentum": 1.5}, "above 0 and at most 1; got 1.5"),
        ({"num_images": 3, "dtype": torch.int64}, "dtype is torch.float32, torch.uint8 or None; got torch.int64"),
    ],
)
def test_numbers_that_make_no_bank(arguments, message):
    with pytest.raises(ValueError, match=message):
        ForegroundBank(**arguments)


@pytest.mark.parametrize(
    ("index", "maps", "observed", "message"),
    [
        (torch.tensor([3]), torch.rand(1, 8, 8), None, r"index must lie in 0..2.*got 3..3"),
        (torch.tensor([-1, 0]), torch.rand(2, 8, 8), None, r"got -1..0.*length of this training set"),
        (torch.tensor([0], dtype=torch.int32), torch.rand(1, 8, 8), None, r"index must be \(B,\) int64.*int32"),
        (torch.tensor([[0]]), torch.rand(1, 8, 8), None, r"index must be \(B,\) int64 positions; got \(1, 1\)"),
        (torch.tensor([0]), torch.rand(2, 8, 8), None, r"maps must be \(1, h, w\) float.*got \(2, 8, 8\)"),
        (torch.tensor([0]), torch.rand(1, 1, 8, 8), None, r"maps must be \(1, h, w\) float.*got \(1, 1, 8, 8\)"),
        (torch.tensor([0]), torch.ones(1, 8, 8, dtype=torch.int64), None, r"maps must be.*int64"),
        (
            torch.tensor([0]),
            torch.rand(1, 8, 8),
            torch.ones(1, 4, 4, dtype=torch.bool),
            r"observed must be \(1, 8, 8\) bool; got \(1, 4, 4\)",
        ),
        (torch.tensor([0]), torch.rand(1, 8, 8), torch.ones(1, 8, 8), r"observed must be \(1, 8, 8\) bool.*float32"),
    ],
)
def test_updates_that_do_not_fit(index, maps, observed, message):
    bank = ForegroundBank(3)
    with pytest.raises(ValueError, match=message):
        bank.update(index, maps, observed)
    assert (bank.maps == 0.5).all() and not bank.seen.any()


def test_an_empty_batch_is_no_error():
    bank = ForegroundBank(3)
    bank.update(torch.empty(0, dtype=torch.int64), torch.empty(0, 8, 8))
    assert not bank.seen.any()


def slow_top(maps, count):
    chosen = torch.zeros(maps.shape, dtype=torch.bool)
    for image, cells in enumerate(maps):
        flat = cells.flatten().tolist()
        for place in sorted(range(len(flat)), key=lambda place: (-flat[place], place))[:count]:
            chosen[image].view(-1)[place] = True
    return chosen


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_remembered_cells_follow_every_change_of_the_maps(dtype):
    generator = torch.Generator().manual_seed(0)
    bank, index = ForegroundBank(6, grid=4, dtype=dtype), torch.tensor([4, 0, 5])

    def agrees(count=5):
        return torch.equal(bank.top(index, count), slow_top(bank.read(index), count))

    assert agrees()
    for _ in range(3):
        bank.update(torch.tensor([0, 4]), torch.rand(2, 4, 4, generator=generator), generator=generator)
        assert agrees()
    assert agrees(count=2)
    bank.maps[5] = bank.maps[5].flip(0)  # Somebody writes to the bank by hand.
    bank.maps[4, 2, 2] = 1 if dtype == torch.float32 else 255
    assert agrees(count=2)
    bank.update(index, torch.rand(3, 4, 4, generator=generator), generator=generator)
    assert agrees(count=2)
    other = ForegroundBank(6, grid=4, dtype=dtype)
    other.update(torch.arange(6), torch.rand(6, 4, 4, generator=generator), generator=generator)
    bank.load_state_dict(other.state_dict())
    assert agrees(count=2)
    bank._apply(lambda tensor: tensor.clone())  # As a move between devices does.
    assert agrees(count=2)


def test_a_grid_too_wide_to_pack_still_finds_its_highest_cells():
    bank, index = ForegroundBank(2, grid=64), torch.tensor([1])
    bank.update(index, torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert bank.packed_top(7) is None
    assert torch.equal(bank.top(index, 7), slow_top(bank.read(index), 7))


def test_a_momentum_of_one_call_puts_maps_in_place_and_leaves_the_banks_own():
    bank = ForegroundBank(3)
    maps = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    bank.update(torch.tensor([2, 0]), maps, momentum=1.0)
    assert torch.equal(bank.read(torch.tensor([2, 0])), maps) and bank.momentum == 0.1
