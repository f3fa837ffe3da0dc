"""Backgrounds as outliers against a loop over pixels, and on the embedded set with its true masks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from backmix.data.digits import DigitsOnTextures
from backmix.data.loader import ResidentLoader, decode
from backmix.data.preprocess import Preprocess
from backmix.methods.network import Network
from backmix.methods.outlier_exposure import OutlierExposure
from backmix.mixing import BackMix, View
from backmix.models import create_backbone
from backmix.outliers import Backgrounds
from backmix.train.loop import train
from backmix.train.recipe import TrainOptions


def make(num_images=20, seed=0, fill="elsewhere", **options):
    """Backgrounds whose bank has a random map of every image."""
    mix = BackMix(num_images, **options)
    generator = torch.Generator().manual_seed(seed)
    mix.bank.update(torch.arange(num_images), torch.rand(num_images, mix.bank.grid, mix.bank.grid, generator=generator))
    return Backgrounds(mix, fill=fill, generator=generator)


def batch_of(batch, height=16, width=16, seed=0):
    generator = torch.Generator().manual_seed(seed + 100)
    images = torch.randn(batch, 3, height, width, generator=generator)
    return images, torch.randperm(20, generator=generator)[:batch]


def slow_foreground(mix, index, height, width, view, image):
    """Pixels (H, W) of one image that lie in one of the highest cells of its map."""
    grid = mix.bank.grid
    values = mix.bank.maps[index[image]].flatten().tolist()
    chosen = sorted(range(grid * grid), key=lambda cell: (-values[cell], cell))[: mix.foreground_cells]
    found = torch.zeros(height, width, dtype=torch.bool)
    for row in range(height):
        for column in range(width):
            y, x = (row + 0.5) / height, (column + 0.5) / width
            if view is not None:
                top, left, bottom, right = view.boxes[image].tolist()
                x = 1 - x if view.flip[image] else x
                y, x = top + y * (bottom - top), left + x * (right - left)
            if 0 <= y < 1 and 0 <= x < 1:
                found[row, column] = math.floor(y * grid) * grid + math.floor(x * grid) in chosen
    return found


def slow_backgrounds(images, objects, donor, fill, fill_value):
    """Pixel by pixel: own background, else the donor's background there, else the fill."""
    result = images.clone()
    batch, channels, height, width = images.shape
    for b in range(batch):
        own = [[images[b, c][~objects[b]].mean() if (~objects[b]).any() else 0.0] for c in range(channels)]
        for row in range(height):
            for column in range(width):
                if not objects[b, row, column]:
                    continue
                # Elsewhere: half the image away in both directions, across, down; the first that is background.
                places = [(row, column)]
                if fill == "elsewhere":
                    down, across = (row - height // 2) % height, (column - width // 2) % width
                    places += [(down, across), (row, across), (down, column)]
                shown = next((place for place in places if not objects[(donor[b], *place)]), None)
                for c in range(channels):
                    if shown is not None:
                        result[b, c, row, column] = images[(donor[b], c, *shown)]
                    else:
                        result[b, c, row, column] = own[c][0] if fill == "mean" else fill_value
    return result


def drawn(source, batch, state):
    """Donors that `source` drew when its generator stood at `state`."""
    copy = torch.Generator()
    copy.set_state(state)
    kept, source.generator = source.generator, copy
    donor, _ = source.draw(batch)
    source.generator = kept
    return donor


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    batch=st.integers(1, 5),
    size=st.tuples(st.integers(5, 14), st.integers(5, 14)),
    grid=st.integers(2, 8),
    share=st.floats(0.25, 0.9),
    fill=st.sampled_from(["elsewhere", "grey", "mean"]),
    with_view=st.booleans(),
)
def test_equals_the_loop(seed, batch, size, grid, share, fill, with_view):
    source = make(seed=seed, fill=fill, grid=grid, foreground_share=share, fill_value=0.3)
    images, index = batch_of(batch, *size, seed=seed)
    view = None
    if with_view:
        generator = torch.Generator().manual_seed(seed)
        corner = torch.rand(batch, 2, generator=generator) * 0.6 - 0.2
        boxes = torch.cat([corner, corner + 0.3 + 0.5 * torch.rand(batch, 2, generator=generator)], 1)
        view = View(boxes, torch.rand(batch, generator=generator) < 0.5)
    before, state = images.clone(), source.generator.get_state()
    found = source(images, index, view=view)
    donor = drawn(source, batch, state)
    objects = torch.stack([slow_foreground(source.backmix, index, *size, view, b) for b in range(batch)])
    assert (found - slow_backgrounds(images, objects, donor, fill, 0.3)).abs().max() < 1e-5
    assert torch.equal(images, before)


@pytest.mark.parametrize("fill", ["elsewhere", "grey", "mean"])
def test_equals_the_loop_with_true_masks(fill):
    source = Backgrounds(BackMix(20, foreground="masks", fill_value=-0.7), fill=fill)
    source.generator = torch.Generator().manual_seed(1)
    images, index = batch_of(4)
    masks = torch.rand(4, 16, 16, generator=torch.Generator().manual_seed(2)) < 0.4
    state = source.generator.get_state()
    found = source(images, index, masks=masks)
    donor = drawn(source, 4, state)
    assert (found - slow_backgrounds(images, masks, donor, fill, -0.7)).abs().max() < 1e-5


@given(batch=st.integers(2, 30), seed=st.integers(0, 2**16))
def test_donors_are_one_cycle_through_the_batch(batch, seed):
    donor = make(seed=seed).draw(batch)[0].tolist()
    place, visited = 0, []
    for _ in range(batch):
        visited.append(place)
        place = donor[place]
    assert sorted(visited) == list(range(batch)) and place == 0


def test_every_other_image_is_equally_likely_to_give():
    source = make()
    counts = torch.zeros(4, 4)
    for _ in range(3000):
        counts[torch.arange(4), source.draw(4)[0]] += 1
    assert (counts.diag() == 0).all()
    assert ((counts / 3000)[~torch.eye(4, dtype=torch.bool)] - 1 / 3).abs().max() < 0.04


@pytest.mark.parametrize("fill", ["elsewhere", "grey"])
def test_own_background_stays_and_no_object_pixel_is_left(fill):
    """Every pixel of image i holds the number 100 + i, or i on its object."""
    source = make(foreground_share=0.25, fill_value=-5.0, fill=fill)
    _, index = batch_of(6)
    objects = source.backmix.foreground_mask(index, (16, 16))
    number = torch.arange(6.0)[:, None, None]
    images = torch.where(objects, number, 100 + number)[:, None].expand(-1, 3, -1, -1)
    found = source(images, index)
    assert ((found >= 100) | (found == -5)).all()
    assert torch.equal(found == images, ~objects[:, None].expand_as(images))


def test_objects_in_the_middle_leave_no_block_of_one_colour():
    """Known images have no such block, so it would tell outliers from them without a look at the rest."""
    images, index = batch_of(6)
    mix = BackMix(20, foreground="centre", fill_value=-5.0)
    blocks = {fill: (Backgrounds(mix, fill=fill)(images, index) == -5).float().mean() for fill in ("elsewhere", "grey")}
    assert blocks == {"elsewhere": 0.0, "grey": 0.25}
    # What shows instead is the donor's own background, from half the image away.
    source = Backgrounds(mix, generator=torch.Generator().manual_seed(3))
    state = source.generator.get_state()
    found, donor = source(images, index), drawn(source, 6, state)
    assert torch.equal(found[:, :, 6:10, 6:10], images[donor].roll((8, 8), (2, 3))[:, :, 6:10, 6:10])


def test_only_images_with_a_map_come_back_and_only_they_give():
    """Every pixel of image i holds the number i."""
    source = make(fill_value=-1.0, fill="grey")
    images, index = batch_of(6)
    images[:] = torch.arange(6.0)[:, None, None, None]
    source.backmix.bank.seen[index[[0, 3]]] = False
    seen = set()
    for _ in range(10):
        found = source(images, index)
        assert len(found) == 4
        # Most of each is its own background, so the order of the batch shows.
        assert found.flatten(1).mode(1).values.tolist() == [1, 2, 4, 5]
        seen |= set(found.unique().tolist())
    assert seen == {-1, 1, 2, 4, 5}


def test_views_stay_with_their_images_when_some_are_left_out():
    source = make()
    images, index = batch_of(4)
    view = View(
        torch.tensor([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.5, 0, 1, 1], [0.25, 0.5, 0.75, 1]]), torch.arange(4) > 1
    )
    state = source.generator.get_state()
    source.backmix.bank.seen[index[0]] = False
    found = source(images, index, view=view)
    source.generator.set_state(state)
    rest = View(view.boxes[1:], view.flip[1:])
    assert torch.equal(found, source(images[1:], index[1:], view=rest))


def test_with_nothing_seen_there_are_no_outliers():
    source = Backgrounds(BackMix(20))
    images, index = batch_of(4)
    assert source(images, index).shape == (0, 3, 16, 16)
    assert source(images[:0], index[:0]).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("fill", ["elsewhere", "grey"])
def test_one_image_alone_has_its_object_filled(fill):
    source = make(fill_value=9.0, fill=fill)
    images, index = batch_of(6)
    source.backmix.bank.seen[index[1:]] = False
    found = source(images, index)
    objects = source.backmix.foreground_mask(index[:1], (16, 16))
    itself = torch.tensor([0])
    assert torch.equal(found, slow_backgrounds(images[:1], objects, itself, fill, 9.0))


@pytest.mark.parametrize("options", [{"foreground": "centre"}, {"foreground": "random"}])
def test_foregrounds_without_a_bank_wait_for_nothing(options):
    source = Backgrounds(BackMix(20, **options), generator=torch.Generator().manual_seed(0))
    images, index = batch_of(4)
    found = source(images, index)
    assert len(found) == 4
    assert (found != images).any(1).flatten(1).sum(1).tolist() == [64] * 4  # 16 of 64 cells, of 2x2 pixels.


@pytest.mark.parametrize("options", [{"foreground": "random"}, {"selection": "random"}])
def test_cells_drawn_at_random_come_from_the_own_generator(options):
    source = make(**options)
    source.backmix.generator = torch.Generator().manual_seed(7)
    state, own = source.backmix.generator.get_state(), source.generator.get_state()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    images, index = batch_of(4)
    found = source(images, index)
    assert torch.equal(source.backmix.generator.get_state(), state)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(source(images, index), found)
    source.generator.set_state(own)
    assert torch.equal(source(images, index), found)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fill", ["elsewhere", "grey", "mean"])
def test_type_and_layout_of_the_images_are_kept(layout, dtype, fill):
    images, index = batch_of(4)
    found = make(fill=fill)(images.to(dtype, memory_format=layout), index)
    assert found.dtype == dtype and found.is_contiguous(memory_format=layout)


def test_no_digit_is_left_on_the_embedded_set():
    """With true masks: own texture stays, and where the digit was a donor's texture shows, grey under its digit."""
    digits = DigitsOnTextures("train", image_size=32).arrays()
    images, masks = digits.images[:64].float() / 255, digits.masks[:64]
    assert 0.02 < masks.float().mean() < 0.5 and masks.flatten(1).any(1).all()
    mix = BackMix(64, foreground="masks", fill_value=0.5)
    source = Backgrounds(mix, fill="grey", generator=torch.Generator().manual_seed(0))
    state = source.generator.get_state()
    found = source(images, torch.arange(64), masks=masks)
    donor = drawn(source, 64, state)
    covered = masks & ~masks[donor]
    both = masks & masks[donor]
    pixels, donors = found.permute(0, 2, 3, 1), images[donor].permute(0, 2, 3, 1)
    assert covered.any() and both.any()
    assert torch.equal(pixels[~masks], images.permute(0, 2, 3, 1)[~masks])
    assert torch.equal(pixels[covered], donors[covered])
    assert (pixels[both] == 0.5).all()
    # The colour under the digit is no longer the digit's: it has moved as far as colours of two images differ.
    assert (pixels - images.permute(0, 2, 3, 1))[covered].abs().mean() > 0.1


@pytest.mark.parametrize("shared", [True, False])
def test_a_training_feeds_the_bank_and_shows_outliers_from_the_second_epoch_on(shared):
    source = DigitsOnTextures("train")
    preprocess = Preprocess(32)
    decoded = decode(source, source.labels, preprocess, positions=(source.labels < 2).nonzero()[:48, 0].tolist())
    torch.manual_seed(0)
    backbone = create_backbone("compact-s", image_size=32, width=0.25)
    network = Network(backbone, OutlierExposure(backbone.num_features, 2))
    mix = BackMix(48)
    outliers = Backgrounds(mix)
    counts = []
    outliers.register_forward_hook(lambda module, given, result: counts.append(len(result)))
    history = train(
        network,
        ResidentLoader(decoded, batch_size=24),
        preprocess,
        TrainOptions(epochs=3, batch_size=24, lr=0.05, ema=0, precision="fp32", small=0.4, jitter=0.2, erase=0.2),
        mix if shared else None,
        outliers=outliers,
    )
    assert all(math.isfinite(report.loss) for report in history)
    assert counts[:2] == [0, 0] and min(counts[2:]) > 16
    assert mix.bank.seen.float().mean() > 0.7


def test_the_bank_is_saved_with_it():
    source = make()
    other = Backgrounds(BackMix(20))
    other.load_state_dict(source.state_dict())
    assert torch.equal(other.backmix.bank.maps, source.backmix.bank.maps) and other.backmix.bank.seen.all()
    assert isinstance(source.backmix, nn.Module) and list(dict(source.named_children())) == ["backmix"]


def test_print_names_every_option():
    assert "fill='elsewhere'" in repr(make()) == repr(make(fill="elsewhere"))
    names = {
        repr(make()),
        repr(make(seed=5)),
        repr(make(fill="mean")),
        repr(make(foreground_share=0.5)),
        repr(make(30)),
    }
    assert len(names) == 4


@pytest.mark.parametrize(
    "options", [{"foreground": "none"}, {"foreground_share": 0.0}, {"foreground": "centre", "foreground_share": 0.01}]
)
def test_a_backmix_that_sees_no_foreground(options):
    with pytest.raises(ValueError, match="backgrounds need to know the foreground"):
        Backgrounds(BackMix(20, **options))


def test_a_fill_that_is_not_there():
    with pytest.raises(ValueError, match="fill is one of elsewhere, grey, mean; got 'noise'"):
        make(fill="noise")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3, 8, 8), torch.arange(3)), r"images must be \(B, C, H, W\)"),
        ((torch.zeros(2, 3, 8, 8), torch.arange(3)), r"index must be \(2,\)"),
        ((torch.zeros(2, 3, 8, 8), torch.tensor([0, 20])), r"0\.\.19"),
    ],
)
def test_calls_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        make()(*arguments)


@pytest.mark.parametrize("masks", [None, torch.zeros(2, 4, 4, dtype=torch.bool)])
def test_missing_masks(masks):
    source = Backgrounds(BackMix(20, foreground="masks"))
    with pytest.raises(ValueError, match=r"need masks=\(2, 8, 8\) bool"):
        source(torch.zeros(2, 3, 8, 8), torch.arange(2), masks=masks)
