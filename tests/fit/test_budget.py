"""How many epochs fit into a time: durations as people write them, and a measurement that leaves nothing behind."""

import time
from types import SimpleNamespace

import pytest
import torch

from backmix.data.loader import Batch
from backmix.data.preprocess import Preprocess
from backmix.fit.budget import epochs_within, measure_epoch, read_duration
from backmix.methods.network import create_network
from backmix.train.recipe import TrainOptions


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), (" 2 H 1 m ", 7260), ("1d", 86400)],
)
def test_durations(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "ten minutes", "10x", "-5m", "0", "0s", "1e3", "10 20", "nan"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="10m, 1h30m or 90s"):
        read_duration(text)


def test_epochs_that_fit():
    assert epochs_within(1000, 10, most=200) == 90
    assert epochs_within(1000, 10, most=50) == 50
    assert epochs_within(5, 10, most=50) == epochs_within(-5, 10, most=50) == 1


class Slow:
    """Batches that take a set time each to come."""

    def __init__(self, batches, seconds):
        self.num_images, self.batches, self.seconds, self.given = 4 * batches, batches, seconds, 0

    def __len__(self):
        return self.batches

    def epoch(self, number):
        for _ in range(self.batches):
            time.sleep(self.seconds)
            self.given += 1
            images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
            yield Batch(images, torch.tensor([0, 1, 0, 1]), torch.arange(4))


@pytest.mark.parametrize(("batches", "seconds", "given"), [(200, 0.5, 40), (3, 10.0, 3 * 3), (1, 10.0, 3 * 1)])
def test_an_epoch_is_measured_by_some_of_its_steps(batches, seconds, given):
    network = create_network("compact-s", "softmax", 2, image_size=32, model_options={"width": 0.25})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    loader = Slow(batches, 0.05)
    options = TrainOptions(epochs=7, batch_size=4, lr=0.1, precision="fp32")
    taken = measure_epoch(network, loader, Preprocess(32), options, seconds=seconds)
    assert 0.05 * batches <= taken  # A busy machine may take any time more.
    assert loader.given <= given  # Short epochs: once to see that they are, and twice to measure one from end to end.
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_smaller_images_and_the_checkpoint_count(tmp_path, monkeypatch):
    """A training: 5 s before an epoch, 3 s a step, 1 s where images are smaller, and 20 s for a checkpoint."""
    clock, seen = [0.0], []

    def train(network, loader, preprocess, options, chain, *, outliers, accelerator, checkpoint):
        assert options.small in (0.0, 1.0)
        for number in range(options.epochs):
            clock[0] += 5.0
            for _ in loader.epoch(number):
                clock[0] += 1.0 if options.small else 3.0
            if checkpoint is not None:
                checkpoint.write_bytes(b"any")
                clock[0] += 20.0
        seen.append((options.small, checkpoint))

    monkeypatch.setattr("backmix.fit.budget.train", train)
    monkeypatch.setattr("backmix.fit.budget.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def measure(small, folder, batches=100):
        seen.clear()
        options = TrainOptions(small=small, precision="fp32")
        return measure_epoch(torch.nn.Linear(1, 1), Slow(batches, 0.0), Preprocess(32), options, folder=folder)

    assert [measure(small, None) for small in (0.0, 0.5)] == pytest.approx([300, 200])
    assert measure(0.0, tmp_path) == pytest.approx(320) and [small for small, _ in seen] == [0.0]
    assert measure(0.5, tmp_path) == pytest.approx(220) and [small for small, _ in seen] == [0.0, 1.0]
    assert all(checkpoint.parent.parent == tmp_path for _, checkpoint in seen) and not list(tmp_path.iterdir())
    # Short ones are measured from end to end.
    assert measure(1.0, None, batches=9) == pytest.approx(14) and len(seen) == 2
    assert measure(0.0, tmp_path, batches=3) == pytest.approx(34) and len(seen) == 2
    # Not so an epoch of a few long steps: it is not trained three times to be measured.
    assert measure(0.0, None, batches=4) == pytest.approx(12) and len(seen) == 1
