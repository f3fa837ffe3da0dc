import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from backmix.mixing import BackMix
from backmix.mixing.draw import Draw, draw_corners, draw_donors_of_other_classes

# A right implementation fails a chi-square test at this level once in 10 000 seeds, and the seeds are fixed.
UNLIKELY = 1e-4


@pytest.mark.parametrize(("size", "side"), [((32, 32), 8), ((9, 14), 3), ((8, 8), 7)])
def test_check_6_corners_are_uniform_over_all_places_both_ends_included(size, side):
    corners = draw_corners(1000, 100, side, size, torch.Generator().manual_seed(0))
    for corner in corners:
        assert corner.shape == (100, 2, 1000) and corner.dtype == torch.int64
        for axis, length in enumerate(size):
            counts = torch.bincount(corner[:, axis].flatten(), minlength=length - side + 1)
            assert len(counts) == length - side + 1  # 0..H-h, not the release's 0..H-h-1
            assert (counts > 0).all()
            assert chisquare(counts.numpy()).pvalue > UNLIKELY


def test_rows_columns_cuts_and_pastes_are_drawn_apart():
    cut, paste = draw_corners(20_000, 1, 1, (4, 4), torch.Generator().manual_seed(1))
    drawn = torch.cat([cut[0], paste[0]])
    joint = (drawn * torch.tensor([64, 16, 4, 1])[:, None]).sum(0)
    assert chisquare(torch.bincount(joint, minlength=256).numpy()).pvalue > UNLIKELY


def test_a_patch_as_large_as_the_image_has_one_place():
    # Trap 5 of the release: its range is empty here.
    cut, paste = draw_corners(5, 2, 6, (6, 6), None)
    assert (cut == 0).all() and (paste == 0).all()


@given(labels=st.lists(st.integers(0, 4), min_size=0, max_size=12), seed=st.integers(0, 2**31))
def test_donors_of_other_classes_are_of_other_classes(labels, seed):
    labels = torch.tensor(labels, dtype=torch.int64)
    donor, found = draw_donors_of_other_classes(labels, torch.Generator().manual_seed(seed))
    assert donor.shape == found.shape == labels.shape
    for number, label in enumerate(labels):
        assert bool(found[number]) == bool((labels != label).any())
        assert 0 <= donor[number] < len(labels)
        if found[number]:
            assert labels[donor[number]] != label


def test_donors_of_other_classes_are_uniform_among_these():
    labels = torch.tensor([3, 1, 3, 0, 1, 3, 2])
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(7, 7)
    for _ in range(3000):
        donor, _ = draw_donors_of_other_classes(labels, generator)
        counts[torch.arange(7), donor] += 1
    for number, label in enumerate(labels):
        assert counts[number][labels == label].sum() == 0
        assert chisquare(counts[number][labels != label].numpy()).pvalue > UNLIKELY


def test_check_5_donors_are_a_permutation_and_uniform():
    mix = BackMix(8, generator=torch.Generator().manual_seed(0))
    counts = torch.zeros(6, 6)
    for _ in range(3000):
        donor = mix.draw((6, 3, 8, 8)).donor
        assert sorted(donor.tolist()) == list(range(6))
        counts[torch.arange(6), donor] += 1
    for row in counts:
        assert chisquare(row.numpy()).pvalue > UNLIKELY


@pytest.mark.parametrize("probability", [0.0, 0.3])
def test_probability_is_the_share_of_mixed_images(probability):
    assert BackMix(8).draw((4, 1, 4, 4)).mixed is None
    mix = BackMix(8, probability=probability, generator=torch.Generator().manual_seed(0))
    share = float(mix.draw((20_000, 1, 4, 4)).mixed.float().mean())
    assert share == pytest.approx(probability, abs=0.015 if probability else 0.0)


def test_draws_hold_what_the_options_need_and_no_more():
    shape = (4, 3, 16, 20)
    plain = BackMix(4).draw(shape)
    assert plain.race is None and plain.noise is None and plain.side == 4
    assert BackMix(4, patch_side=0.01).draw(shape).side == 1
    assert BackMix(4, patch_side=1.0).draw(shape).side == 16
    assert BackMix(4, selection="random", grid=5).draw(shape).race.shape == (4, 5, 5)
    assert BackMix(4, selection="random", foreground="none").draw(shape).race is None
    assert BackMix(4, foreground="random").draw(shape).race.shape == (4, 8, 8)
    assert BackMix(4, fill="noise", num_patches=2).draw(shape).noise.shape == (2, 4, 3, 4, 4)
    assert BackMix(4, fill="noise", apply="swap").draw(shape).noise.shape == shape


def test_random_cells_come_in_proportion_to_the_map():
    generator = torch.Generator().manual_seed(0)
    mix = BackMix(1, selection="random", foreground_share=1 / 4, grid=2, generator=generator)
    mix.bank.maps.copy_(torch.tensor([[[0.1, 0.2], [0.3, 0.4]]]))
    mix.bank.seen.fill_(True)
    masks = mix.foreground_mask(torch.zeros(20_000, dtype=torch.int64), (2, 2))
    assert (masks.flatten(1).sum(1) == 1).all()
    counts = masks.flatten(1).sum(0).numpy()
    assert chisquare(counts, [2000, 4000, 6000, 8000]).pvalue > UNLIKELY


def test_the_same_seed_draws_the_same_and_another_does_not():
    def draw(seed):
        options = {"selection": "random", "fill": "noise", "num_patches": 2, "probability": 0.5}
        drawn = BackMix(64, generator=torch.Generator().manual_seed(seed), **options).draw((64, 3, 32, 32))
        return [drawn.donor, drawn.mixed, drawn.cut, drawn.paste, drawn.race, drawn.noise]

    for one, same, other in zip(draw(7), draw(7), draw(8), strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


def test_without_a_generator_the_seed_of_torch_holds():
    mix = BackMix(16)
    torch.manual_seed(3)
    first = mix.draw((16, 3, 32, 32))
    torch.manual_seed(3)
    again = mix.draw((16, 3, 32, 32))
    assert torch.equal(first.donor, again.donor) and torch.equal(first.cut, again.cut)


def test_moving_a_draw():
    draw = BackMix(4, selection="random", fill="noise", probability=0.5).draw((4, 3, 16, 16))
    assert draw.to(torch.device("cpu")) is draw
    moved = draw.to(torch.device("meta"))  # Has shapes alone, and is there on every machine.
    for name in ("donor", "mixed", "cut", "paste", "race", "noise"):
        assert getattr(moved, name).device.type == "meta"
        assert getattr(moved, name).shape == getattr(draw, name).shape
    assert moved.side == draw.side
    bare = Draw(draw.donor, None, draw.corners, draw.side).to(torch.device("meta"))
    assert bare.mixed is None and bare.race is None and bare.noise is None


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1])])
def test_donors_of_other_classes_need_labels(labels):
    with pytest.raises(ValueError, match=r'donor="other" needs labels=\(4,\) at every call; got (None|\(2,\))'):
        BackMix(4, donor="other").draw((4, 3, 16, 16), labels=labels)
