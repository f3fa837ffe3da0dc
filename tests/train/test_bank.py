"""The bank before the first epoch: the evidence of the network for each image, and a first epoch that mixes."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from backmix.data.digits import DigitsOnTextures
from backmix.data.loader import ResidentLoader, WorkerLoader, decode
from backmix.data.preprocess import Preprocess
from backmix.methods.network import create_network
from backmix.mixing import BackMix
from backmix.mixing.bank import resize_map
from backmix.train import make_accelerator, train
from backmix.train.bank import check_map, fill_bank, map_size
from backmix.train.recipe import TrainOptions

PREPROCESS = Preprocess(32)
OPTIONS = TrainOptions(epochs=2, batch_size=16, lr=0.05, precision="fp32")


@pytest.fixture(scope="module")
def few():
    source = DigitsOnTextures("train", contrast=0.36)
    positions = (source.labels < 2).nonzero().flatten().tolist()[:48]
    return decode(source, source.labels, PREPROCESS, positions=positions)


@pytest.fixture(scope="module")
def accelerator():
    return make_accelerator("fp32")


def make_network(method="softmax"):
    torch.manual_seed(0)
    return create_network("compact-s", method, 2, image_size=32, model_options={"width": 0.25})


def evidence_one_by_one(network, data):
    network.eval()
    with torch.no_grad():
        maps = [
            network.head.evidence(network.backbone(PREPROCESS.normalise(image[None])), label[None])
            for image, label in zip(data.images, data.labels, strict=True)
        ]
    return resize_map(torch.cat(maps).float(), 8)


@pytest.mark.parametrize("foreground", ["free", "clean"])
@pytest.mark.parametrize("batch_size", [7, 48])
@pytest.mark.parametrize("method", ["softmax", "arpl", "pcssr"])
def test_each_image_gets_the_evidence_for_its_label(few, accelerator, foreground, batch_size, method):
    network, mix = make_network(method), BackMix(48, foreground=foreground)
    filled = fill_bank(
        network, ResidentLoader(few, batch_size=batch_size).whole(), PREPROCESS, mix, accelerator=accelerator
    )
    expected = evidence_one_by_one(network, few)
    has = (expected != 0).flatten(1).any(1)
    assert filled == has.sum() and torch.equal(mix.bank.seen, has)
    torch.testing.assert_close(mix.bank.maps[has], expected[has], atol=1e-4, rtol=1e-4)
    assert (mix.bank.maps[~has] == 0.5).all()


def test_the_network_and_its_modes_stay_as_they_were(few, accelerator):
    network = make_network().train()
    network.backbone.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fill_bank(network, ResidentLoader(few, batch_size=9).whole(), PREPROCESS, BackMix(48), accelerator=accelerator)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.training and network.head.training and not network.backbone.training


def test_a_bank_that_was_used_is_written_anew(few, accelerator):
    network, mix, fresh = make_network(), BackMix(48), BackMix(48)
    index = torch.arange(48)
    mix(PREPROCESS.normalise(few.images), index)
    mix.update(index, torch.rand(48, 4, 4))
    mix(PREPROCESS.normalise(few.images[:5]), index[:5])
    for each in (mix, fresh):
        fill_bank(network, ResidentLoader(few, batch_size=48).whole(), PREPROCESS, each, accelerator=accelerator)
    seen = fresh.bank.seen
    assert torch.equal(mix.bank.maps[seen], fresh.bank.maps[seen])


def test_bytes_are_rounded_by_the_seed_alone(few, accelerator):
    banks = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(banks))
        network, mix = make_network(), BackMix(48, bank_dtype=torch.uint8)
        fill_bank(
            network,
            ResidentLoader(few, batch_size=48).whole(),
            PREPROCESS,
            mix,
            accelerator=accelerator,
            seed=seed,
        )
        banks.append(mix.bank.maps)
    assert torch.equal(banks[0], banks[1]) and not torch.equal(banks[0], banks[2])
    assert (banks[0].int() - banks[2].int()).abs().max() == 1


@pytest.mark.parametrize("foreground", ["masks", "centre", "random", "none"])
def test_other_foregrounds_need_no_bank_and_no_pass(few, accelerator, foreground):
    mix = BackMix(48, foreground=foreground)
    assert fill_bank(make_network(), iter(()), PREPROCESS, mix, accelerator=accelerator) == 0
    assert not mix.bank.seen.any()


def test_progress_counts_the_images(few, accelerator):
    done = []
    loader = ResidentLoader(few, batch_size=20)
    fill_bank(make_network(), loader.whole(), PREPROCESS, BackMix(48), accelerator=accelerator, on_images=done.append)
    assert done == [20, 40, 48]


def test_whole_pictures_that_workers_decode_give_the_same_bank(few, accelerator):
    source = DigitsOnTextures("train", contrast=0.36)
    loader = WorkerLoader(source, source.labels, PREPROCESS, positions=few.positions.tolist(), batch_size=20, workers=0)
    network, banks = make_network(), []
    for batches in (loader.whole(), ResidentLoader(few, batch_size=20).whole()):
        mix = BackMix(48)
        fill_bank(network, batches, PREPROCESS, mix, accelerator=accelerator)
        banks.append(mix.bank)
    assert torch.equal(banks[0].seen, banks[1].seen)
    torch.testing.assert_close(banks[0].maps, banks[1].maps, atol=1e-4, rtol=1e-4)


class OneOfTwo(SimpleNamespace):
    """One of two processes, played one after the other: what it gives to the sum is kept for the other."""

    def reduce(self, values, how):
        assert how == "sum"
        self.given.append(values)
        other = next(self.others, None)
        return values if other is None else values + other


def test_processes_fill_one_bank_together(few, accelerator):
    network, banks, given = make_network(), [], []
    for rank in (1, 0, 1):
        mix, others = BackMix(48), iter(given)
        given = []
        process = OneOfTwo(
            device=torch.device("cpu"), num_processes=2, autocast=accelerator.autocast, given=given, others=others
        )
        loader = ResidentLoader(few, batch_size=5, rank=rank, world=2)
        fill_bank(network, loader.whole(), PREPROCESS, mix, accelerator=process)
        banks.append(mix.bank)
    alone = BackMix(48)
    fill_bank(network, ResidentLoader(few, batch_size=5).whole(), PREPROCESS, alone, accelerator=accelerator)
    assert torch.equal(banks[1].seen, alone.bank.seen) and not torch.equal(banks[0].seen, alone.bank.seen)
    torch.testing.assert_close(banks[1].maps, alone.bank.maps, atol=1e-5, rtol=1e-5)


class Stop(Exception):
    pass


def test_the_first_epoch_mixes_and_a_resumed_training_ends_the_same(few, tmp_path):
    """What is resumed holds the bank in its checkpoint, so it need not be filled again."""
    mixed = []

    class Watched(BackMix):
        def forward(self, images, index, **more):
            mixed.append(self.bank.seen[index].float().mean().item())
            return super().forward(images, index, **more)

    def start(fill, path, **arguments):
        network, mix = make_network(), Watched(48)
        accelerator = make_accelerator("fp32")
        loader = ResidentLoader(few, batch_size=16)
        if fill:
            assert fill_bank(network, loader.whole(), PREPROCESS, mix, accelerator=accelerator) > 40
        train(network, loader, PREPROCESS, OPTIONS, mix, accelerator=accelerator, checkpoint=path, **arguments)
        return network, mix

    start(False, None)
    assert mixed[:3] == [0, 0, 0]
    mixed.clear()
    network, mix = start(True, None)
    assert min(mixed[:3]) > 0.8

    def stop(_):
        raise Stop

    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Stop):
        start(True, path, on_epoch=stop)
    for fill in (False, True):
        again, others = start(fill, path, resume=True)
        pairs = [(network, again), (mix, others)]
        assert all(
            torch.equal(value, second.state_dict()[name])
            for first, second in pairs
            for name, value in first.state_dict().items()
        )
        path.unlink()
        with pytest.raises(Stop):
            start(True, path, on_epoch=stop)


def test_images_without_evidence_stay_unseen_and_unmixed(few, accelerator):
    network = make_network()
    dark = replace(few, images=few.images.clone())
    evidence = network.head.evidence
    network.head.evidence = lambda features, labels: evidence(features, labels) * (labels == 0)[:, None, None]
    mix = BackMix(48)
    filled = fill_bank(network, ResidentLoader(dark, batch_size=48).whole(), PREPROCESS, mix, accelerator=accelerator)
    assert filled == mix.bank.seen.sum() <= (few.labels == 0).sum()
    assert not mix.bank.seen[few.labels == 1].any()


def one_cell():
    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=16), torch.nn.BatchNorm2d(4))
    return backbone


def test_the_size_of_a_map_is_found_without_a_change():
    backbone = one_cell().double().train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert map_size(backbone, 32) == (2, 2) and map_size(backbone, 16) == (1, 1)
    assert backbone.training and all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())


def test_a_map_of_one_cell_is_refused_where_it_would_feed_the_bank():
    with pytest.raises(ValueError, match="one cell for images of 16 px.*--image-size 32.*output_stride.*saliency"):
        check_map(one_cell(), 16, BackMix(4))
    with pytest.raises(ValueError, match="one cell for images of 15 px"):
        check_map(one_cell(), 20, BackMix(4, foreground="clean"), small=True)
    with pytest.raises(ValueError, match=r"one cell for images of 4 px.*images \(--image-size 16 or more\)"):
        check_map(torch.nn.AvgPool2d(8, ceil_mode=True), 4, BackMix(4))
    with pytest.raises(ValueError, match=r"Take larger images, a network for small images"):
        check_map(torch.nn.AdaptiveAvgPool2d(1), 32, BackMix(4))
    check_map(one_cell(), 20, BackMix(4, foreground="clean"))
    for foreground in ("masks", "centre", "random", "none"):
        check_map(one_cell(), 16, BackMix(4, foreground=foreground))
    check_map(one_cell(), 16, None)
