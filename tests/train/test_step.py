"""A step on one process and on several that share its batch: the same images, the same bank."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from backmix.augmentations import Chain, make_augmentation
from backmix.augmentations.share import ALL
from backmix.augmentations.share import ProcessPart as Share
from backmix.data.loader import Batch
from backmix.data.preprocess import Preprocess
from backmix.methods.network import create_network
from backmix.mixing import View
from backmix.outliers import Backgrounds, DatasetOutliers
from backmix.train.recipe import TrainOptions
from backmix.train.step import train_step

PREPROCESS = Preprocess(32)
OPTIONS = TrainOptions(pad=0.125, flip=0.5, zoom=0.2, jitter=0.3, erase=0.25)
PURPOSES = ("mix", "crop", "colour", "erase", "round", "outliers")


def make_batch(count=12, view=False):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 3
    masks = torch.rand(count, 32, 32, generator=generator) < 0.3
    corner = 0.4 * torch.rand(count, 2, generator=generator)
    shown = View(torch.cat([corner, corner + 0.6], 1), torch.arange(count) % 2 == 0) if view else None
    return Batch(images, labels, torch.randperm(count, generator=generator), masks, shown)


def part_of(batch, share):
    view = batch.view and View(share.own(batch.view.boxes), share.own(batch.view.flip))
    return Batch(share.own(batch.images), share.own(batch.labels), share.own(batch.index), share.own(batch.masks), view)


class Processes:
    """One of several processes, played one after the other: gathers what the whole batch holds."""

    def __init__(self, share, whole, maps):
        self.process_index, self.num_processes = share.rank, share.world
        self.share, self.maps, self.gathered = share, maps, []
        view = [] if whole.view is None else [whole.view.boxes, whole.view.flip]
        self.whole = [whole.images, whole.labels, whole.index, whole.masks, *view]

    def gather(self, part):
        self.gathered.append(part)
        if part.ndim == 3 and part.is_floating_point():
            assert torch.allclose(self.share.own(self.maps), part, atol=1e-5)
            return self.maps
        return next(each for each in self.whole if torch.equal(self.share.own(each), part))

    def backward(self, loss):
        pass


class Spy(torch.nn.Module):
    """In the network's place: keeps what it is shown, and the features."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, shown, labels, *, targets, outliers, **_):
        self.shown, self.labels, self.targets, self.outliers = shown, labels, targets, outliers
        self.features = self.network.backbone(shown[: len(labels)])
        return self.features, self.features.mean()


def take_step(share, batch, name, options, *, views=1, outliers=None, maps=None):
    """What the network was shown, the augmentation after the step, the process, and the maps that the bank was fed."""
    torch.manual_seed(0)
    network = create_network("compact-s", "softmax", 3, image_size=32, model_options={"width": 0.25})
    network.eval()  # Statistics of a batch would tie its images to one another.
    network.head.views = views
    chain = make_augmentation(name, 12, PREPROCESS) or Chain([])
    generators = {purpose: torch.Generator().manual_seed(number) for number, purpose in enumerate(PURPOSES)}
    chain.train().set_generator(generators["mix"])
    if chain.backmix is not None:
        # Half of the images have maps, so that donors are masked; the rest waits for its first.
        chain.backmix.bank.maps.uniform_(generator=torch.Generator().manual_seed(3))
        chain.backmix.bank.seen[::2] = True
    others = None
    if isinstance(outliers, torch.Tensor):
        others = DatasetOutliers(outliers, PREPROCESS, generator=generators["outliers"])
    elif outliers is not None:
        others = Backgrounds(chain.backmix, generator=generators["outliers"])
    process, spy, part = Processes(share, batch, maps), Spy(network), part_of(batch, share)
    train_step(process, spy, network, part, PREPROCESS, options, chain, others, [], generators)
    return spy, chain, process, network.head.evidence(spy.features, part.labels)


CASES = [
    ("none", {}),
    ("randaugment+cutout", {}),
    ("backmix", {}),
    ("backmix", {"view": True}),
    ("swap+gridmask", {}),
    ("randaugment+backmix+hide-and-seek", {}),
    ("mixup", {}),
    ("cutmix", {}),
]


@pytest.mark.parametrize(("name", "more"), CASES)
@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("views", [1, 2])
def test_images_and_bank_are_those_of_one_process(name, more, world, views):
    batch, options = make_batch(**more), replace(OPTIONS, small=0.5)
    alone, chain, process, maps = take_step(ALL, batch, name, options, views=views)
    assert not process.gathered and len(alone.shown) == 12 * views
    shown = []
    for rank in range(world):
        share = Share(rank, world)
        spy, theirs, process, _ = take_step(share, batch, name, options, views=views, maps=maps)
        shown.append(spy.shown.unflatten(0, (views, -1)))
        assert torch.equal(spy.labels, share.own(alone.labels)) and (spy.targets is None) == (alone.targets is None)
        for (ours, weight), (whole, other) in zip(spy.targets or (), alone.targets or ()):
            assert weight == other and torch.equal(ours, share.own(whole))
        if chain.backmix is not None:
            assert torch.equal(theirs.backmix.bank.maps, chain.backmix.bank.maps)
            assert torch.equal(theirs.backmix.bank.seen, chain.backmix.bank.seen)
        # Images travel only where one may be part of another.
        sent = any(part.dtype == torch.uint8 for part in process.gathered)
        assert sent == (name not in ("none", "randaugment+cutout"))
    assert torch.allclose(torch.cat(shown, 1).flatten(0, 1), alone.shown, atol=1e-5)


@pytest.mark.parametrize("source", ["backgrounds", torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)])
def test_outliers_are_shared_out(source):
    batch = make_batch()
    alone, _, _, maps = take_step(ALL, batch, "backmix", OPTIONS, outliers=source)
    parts = [
        take_step(Share(rank, 4), batch, "backmix", OPTIONS, outliers=source, maps=maps)[0].outliers
        for rank in range(4)
    ]
    sizes = [len(part) for part in parts]
    assert sum(sizes) == len(alone.outliers) and max(sizes) - min(sizes) <= 1
    assert torch.equal(torch.cat(parts), alone.outliers)


def test_figures_stay_where_they_are():
    """Tensors, not numbers: to read one is to wait for the device."""
    batch = make_batch()
    torch.manual_seed(0)
    network = create_network("compact-s", "softmax", 3, image_size=32, model_options={"width": 0.25})
    accelerator = SimpleNamespace(process_index=0, num_processes=1, backward=lambda loss: loss.backward())
    generators = {purpose: torch.Generator() for purpose in PURPOSES}
    chain = Chain([])
    loss, correct = train_step(accelerator, network, network, batch, PREPROCESS, OPTIONS, chain, None, [], generators)
    assert loss.shape == correct.shape == () and not loss.requires_grad and correct.dtype == torch.int64
