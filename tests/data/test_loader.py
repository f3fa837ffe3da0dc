"""Batches: what is in them, in which order, and what part of each image they show."""

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.data.digits import DigitsOnTextures
from backmix.data.images import ImageError
from backmix.data.loader import Decoded, ResidentLoader, WorkerLoader, decode
from backmix.data.preprocess import Preprocess
from backmix.data.seeds import seed_of
from backmix.mixing.view import to_view


class Ramps:
    """Images whose red tells the column, green the row and blue the number; masks cover the left third."""

    classes = ("even", "odd")

    def __init__(self, count=20, width=120, height=80, broken=(), masks=True):
        self.labels = torch.arange(count) % 2
        self.width, self.height, self.broken, self.masks = width, height, broken, masks

    def __len__(self):
        return len(self.labels)

    def read(self, i):
        if i in self.broken:
            raise ImageError(self.name(i), "broken on purpose")
        pixels = np.zeros((self.height, self.width, 3))
        pixels[..., 0] = (np.arange(self.width) + 0.5)[None] / self.width * 255
        pixels[..., 1] = (np.arange(self.height) + 0.5)[:, None] / self.height * 255
        pixels[..., 2] = i
        return Image.fromarray(pixels.round().astype(np.uint8))

    def read_mask(self, i):
        if not self.masks:
            return None
        mask = np.zeros((self.height, self.width), dtype=np.uint8)
        mask[:, : self.width // 3] = 255
        return Image.fromarray(mask)

    def name(self, i):
        return f"/pictures/{i}.png"


def resident(count=20, **options):
    source = Ramps(count)
    return ResidentLoader(decode(source, source.labels, Preprocess(16), masks=True), **options)


def workers(source=None, positions=None, size=32, **options):
    source = source or Ramps()
    positions = range(len(source)) if positions is None else positions
    return WorkerLoader(source, source.labels, Preprocess(size), positions=positions, **{"workers": 0, **options})


LOADERS = {"resident": resident, "workers": lambda **options: workers(size=16, masks=True, **options)}


def same(a, b):
    fields = [(a.images, b.images), (a.labels, b.labels), (a.index, b.index), (a.masks, b.masks)]
    if a.view is not None:
        fields += [(a.view.boxes, b.view.boxes), (a.view.flip, b.view.flip)]
    return all(torch.equal(x, y) for x, y in fields)


@pytest.mark.parametrize("kind", LOADERS)
def test_a_batch_holds_what_it_says(kind):
    loader = LOADERS[kind](batch_size=6)
    batches = list(loader.epoch(0))
    assert len(batches) == len(loader) == 3
    for batch in batches:
        assert batch.images.shape == (6, 3, 16, 16) and batch.images.dtype == torch.uint8
        assert batch.masks.shape == (6, 16, 16) and batch.masks.dtype == torch.bool
        assert batch.index.dtype == batch.labels.dtype == torch.int64
        # Blue is the number of the image, so images, labels and index belong together.
        assert torch.equal(batch.images[:, 2, 8, 8].long(), batch.index)
        assert torch.equal(batch.labels, batch.index % 2)


@pytest.mark.parametrize("kind", LOADERS)
def test_an_epoch_shows_each_image_at_most_once_in_its_own_order(kind):
    loader = LOADERS[kind](batch_size=6)
    orders = [torch.cat([batch.index for batch in loader.epoch(number)]).tolist() for number in range(3)]
    assert all(len(set(order)) == len(order) == 18 for order in orders)
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("kind", LOADERS)
def test_the_same_seed_and_epoch_give_the_same_batches(kind):
    first, again, other = (LOADERS[kind](batch_size=5, seed=seed) for seed in (3, 3, 4))
    torch.manual_seed(1)
    list(first.epoch(0))  # What was shown before does not matter, nor does the global generator.
    once = list(first.epoch(7))
    torch.manual_seed(2)
    twice = list(again.epoch(7))
    assert all(same(a, b) for a, b in zip(once, twice, strict=True))
    assert any(not torch.equal(a.index, b.index) for a, b in zip(once, other.epoch(7), strict=True))


def test_both_loaders_have_one_order():
    one, two = resident(batch_size=4, seed=9), workers(batch_size=4, seed=9)
    assert all(torch.equal(a.index, b.index) for a, b in zip(one.epoch(2), two.epoch(2), strict=True))


def test_the_number_of_workers_changes_nothing():
    alone, one, two = (list(workers(batch_size=4, masks=True, workers=n).epoch(1)) for n in (0, 1, 2))
    assert all(same(a, b) and same(a, c) for a, b, c in zip(alone, one, two, strict=True))


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize(("batch_size", "world"), [(4, 2), (3, 3), (5, 2)])
def test_processes_share_each_global_batch_without_overlap(kind, batch_size, world):
    parts = [LOADERS[kind](batch_size=batch_size, rank=rank, world=world) for rank in range(world)]
    whole = resident(batch_size=batch_size * world)
    assert {len(part) for part in parts} == {len(whole)}
    for shares, batch in zip(zip(*(part.epoch(3) for part in parts), strict=True), whole.epoch(3), strict=True):
        assert all(len(share.index) == batch_size for share in shares)
        assert torch.equal(torch.cat([share.index for share in shares]), batch.index)


@pytest.mark.parametrize(
    ("count", "batch_size", "world", "batches", "size"),
    [(20, 20, 1, 1, 20), (20, 21, 1, 1, 20), (20, 7, 1, 2, 7), (39, 20, 1, 1, 20), (5, 4, 2, 1, 2), (1, 4, 2, 0, 1)],
)
def test_the_last_smaller_batch_is_left_out_unless_it_is_the_only_one(count, batch_size, world, batches, size):
    loader = resident(count, batch_size=batch_size, world=world)
    assert len(loader) == batches and loader.batch_size == size and loader.num_images == count
    assert [len(batch.index) for batch in loader.epoch(0)] == [size] * batches


def test_index_counts_within_the_chosen_images():
    source = Ramps()
    chosen = [3, 11, 4, 17, 8]
    loader = workers(source, chosen, batch_size=5)
    (batch,) = loader.epoch(0)
    assert sorted(batch.index.tolist()) == [0, 1, 2, 3, 4]
    assert batch.images[:, 2].amax((1, 2)).tolist() == [chosen[i] for i in batch.index.tolist()]
    assert batch.labels.tolist() == [chosen[i] % 2 for i in batch.index.tolist()]


def test_the_view_is_what_came_out():
    """Each pixel tells where it was, so it must be where the view says it is."""
    loader = workers(batch_size=20)
    for number in range(3):
        (batch,) = loader.epoch(number)
        rows = columns = torch.arange(32).expand(20, -1)
        y, x = batch.view.fractions(rows, columns, 32, 32)
        # One pixel of slack at the border of the crop, where the filter has nothing beyond to look at.
        assert (batch.images[:, 0].float() / 255 - x[:, None, :]).abs().max() < 1 / 60
        assert (batch.images[:, 1].float() / 255 - y[:, :, None]).abs().max() < 1 / 40
        assert batch.view.boxes.min() >= 0 and batch.view.boxes.max() <= 1
        assert batch.view.flip.any() and not batch.view.flip.all()


def test_the_nearest_crop_through_the_view_equals_what_came_out():
    """Blocks of 10 px survive any filter in their middle, so a nearest crop by the view finds the same picture."""
    source = Ramps(30)
    blocks = torch.rand(8, 12, generator=torch.Generator().manual_seed(0)) > 0.5
    pixels = np.kron(blocks.numpy(), np.ones((10, 10), dtype=bool)).astype(np.uint8) * 255
    source.read = lambda i: Image.fromarray(np.repeat(pixels[..., None], 3, 2))
    (batch,) = workers(source, size=64, batch_size=30).epoch(0)
    expected = to_view(blocks.float().expand(30, -1, -1), batch.view, (64, 64), mode="nearest")
    agree = ((batch.images[:, 0] > 127) == (expected > 0.5)).float().mean((1, 2))
    assert agree.min() > 0.95
    mirrored = to_view(blocks.float().expand(30, -1, -1), batch.view, (64, 64), mode="nearest").flip(2)
    assert ((batch.images[:, 0] > 127) == (mirrored > 0.5)).float().mean() < 0.8


def test_crops_keep_within_the_scale_asked_for():
    loader = workers(batch_size=20, scale=(0.4, 0.6), flip=0.0)
    boxes = torch.cat([batch.view.boxes for n in range(5) for batch in loader.epoch(n)])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert area.min() > 0.36 and area.max() < 0.64
    assert len(boxes.unique(dim=0)) == len(boxes)


def test_masks_follow_the_crop():
    (batch,) = workers(batch_size=20, masks=True).epoch(0)
    columns = torch.arange(32).expand(20, -1)
    _, x = batch.view.fractions(columns, columns, 32, 32)
    clear = (x - 1 / 3).abs() > 1 / 60
    assert batch.masks.any() and not batch.masks.all()
    assert ((batch.masks == (x < 1 / 3)[:, None, :]) | ~clear[:, None, :]).all()


def test_masks_of_the_digits_follow_the_crop_too():
    digits = DigitsOnTextures("val")
    loader = WorkerLoader(
        digits, digits.labels, Preprocess(32), positions=range(24), batch_size=24, masks=True, workers=0
    )
    (batch,) = loader.epoch(0)
    whole = torch.stack([Preprocess(32).decode_mask(digits.read_mask(i)) for i in batch.index.tolist()])
    expected = to_view(whole.float(), batch.view, (32, 32), mode="nearest") > 0.5
    assert (batch.masks == expected).float().mean() > 0.97


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("world", [1, 3])
def test_whole_images_come_once_and_in_order(kind, world):
    parts = [LOADERS[kind](rank=rank, world=world, batch_size=3) for rank in range(world)]
    batches = [list(part.whole()) for part in parts]
    for rank, own in enumerate(batches):
        assert torch.cat([batch.index for batch in own]).tolist() == list(range(20))[rank::world]
        assert max(len(batch.index) for batch in own) <= 3
    for batch in (batch for own in batches for batch in own):
        assert torch.equal(batch.images[:, 2, 0, 0].long(), batch.index)
        assert torch.equal(batch.labels, batch.index % 2)


def test_workers_show_the_whole_picture_and_say_so():
    (batch,) = workers(Ramps(4), size=32, batch_size=4).whole()
    assert batch.view.boxes.tolist() == [[0, 0, 1, 1]] * 4 and not batch.view.flip.any()
    ramp = (torch.arange(32) + 0.5) / 32 * 255
    assert (batch.images[:, 0].float() - ramp).abs().max() < 5
    assert (batch.images[:, 1].float() - ramp[:, None]).abs().max() < 5


def test_decode_lists_what_cannot_be_read_and_keeps_the_rest_in_order():
    source = Ramps(200, broken=(0, 7, 150, 199))
    decoded = decode(source, source.labels, Preprocess(16), workers=3)
    assert decoded.skipped == [(f"/pictures/{i}.png", "broken on purpose") for i in (0, 7, 150, 199)]
    assert decoded.positions.tolist() == [i for i in range(200) if i not in (0, 7, 150, 199)]
    assert torch.equal(decoded.images[:, 2, 0, 0].long(), decoded.positions)
    assert torch.equal(decoded.labels, decoded.positions % 2)
    assert decoded.masks is None


def test_decode_goes_by_the_positions_given():
    source = Ramps(broken=(4,))
    decoded = decode(source, source.labels, Preprocess(16), positions=[9, 4, 2, 9], masks=True)
    assert decoded.positions.tolist() == [9, 2, 9] and decoded.masks.shape == (3, 16, 16)
    assert decoded.images[:, 2, 0, 0].tolist() == [9, 2, 9]
    assert [name for name, _ in decoded.skipped] == ["/pictures/4.png"]


def test_decode_of_nothing_readable_is_empty():
    source = Ramps(3, broken=(0, 1, 2))
    decoded = decode(source, source.labels, Preprocess(16))
    assert len(decoded.images) == len(decoded.labels) == 0 and len(decoded.skipped) == 3


def test_images_without_the_masks_asked_for_are_listed():
    source = Ramps(3, masks=False)
    decoded = decode(source, source.labels, Preprocess(16), masks=True)
    assert len(decoded.images) == 0 and "has no mask" in decoded.skipped[0][1]


def test_what_is_no_image_error_is_not_swallowed():
    source = Ramps(3)
    source.read = lambda i: 1 / 0
    with pytest.raises(ZeroDivisionError):
        decode(source, source.labels, Preprocess(16))


@pytest.mark.parametrize("processes", [0, 2])
def test_an_image_that_breaks_during_training_is_named(processes):
    loader = workers(Ramps(broken=(13,)), batch_size=4, workers=processes)
    with pytest.raises(ImageError) as caught:
        list(loader.epoch(0))
    assert caught.value.path == "/pictures/13.png" and caught.value.reason == "broken on purpose"
    assert str(caught.value) == "/pictures/13.png: broken on purpose"


def test_a_missing_mask_during_training_is_named():
    with pytest.raises(ImageError, match=r"/pictures/\d+\.png: has no mask"):
        list(workers(Ramps(masks=False), batch_size=4, masks=True).epoch(0))


def test_resident_batches_are_copies():
    images = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    loader = ResidentLoader(Decoded(images, torch.zeros(4).long(), None, torch.arange(4), []), batch_size=2)
    for batch in loader.epoch(0):
        batch.images.fill_(9)
        assert batch.masks is None and batch.view is None
    assert not images.any()


def test_seeds_depend_on_every_part():
    seeds = {
        seed_of(*parts) for parts in [(0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1), (0, "a"), (0, "a", 1, 0)]
    }
    assert len(seeds) == 6
    assert seed_of(0, "order", 3) == seed_of(0, "order", 3)
    assert all(0 <= seed < 2**63 for seed in seeds)
    torch.Generator().manual_seed(max(seeds))
