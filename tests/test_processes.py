"""Several processes train one network: same weights, same bank everywhere, and one run folder."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import backmix
from backmix.classifier import OpenSetClassifier
from backmix.cli.fit_command import fit_command
from backmix.fit.arguments import FitArguments
from backmix.train.checkpoint import load_checkpoint

TRAINING = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from backmix.classifier import OpenSetClassifier
from backmix.data.digits import DigitsOnTextures
from backmix.data.loader import Batch
from backmix.fit import fit
from backmix.train.recipe import TrainOptions
from backmix.train import make_accelerator
import backmix.train.loop

seen = []
step = backmix.train.loop.train_step

def spy(accelerator, wrapped, network, batch, *rest, **more):
    seen.append(batch.index)
    return step(accelerator, wrapped, network, batch, *rest, **more)

backmix.train.loop.train_step = spy
accelerator = make_accelerator("bf16")
for foreground in ("free", "clean"):
    seen.clear()
    classifier = OpenSetClassifier(["0", "1"], model="compact-s", model_options={"width": 0.25})
    report = fit(
        classifier,
        DigitsOnTextures("train", contrast=0.36),
        options=TrainOptions(epochs=2, batch_size=20, lr=0.05, ema=0.5),
        augmentation="backmix",
        augmentation_options={"foreground": foreground, "bank_dtype": torch.uint8, "donor": "other"},
        accelerator=accelerator,
        checkpoint=Path(sys.argv[1]) / foreground / "checkpoint.pt",
    )
    state = {
        "network": classifier.network.state_dict(),
        "bank": report.augmentation.state_dict(),
        "index": torch.stack(seen),
        "history": [[entry.loss, entry.accuracy] for entry in report.history],
        "threshold": classifier.thresholds["max_logit"].threshold,
        "world": accelerator.num_processes,
    }
    torch.save(state, Path(sys.argv[1]) / foreground / f"{accelerator.process_index}.pt")
accelerator.end_training()
"""

FILL = """
import sys
from pathlib import Path
from types import SimpleNamespace
import torch
torch.set_num_threads(1)
from backmix.data.digits import DigitsOnTextures
from backmix.data.loader import ResidentLoader, decode
from backmix.data.preprocess import Preprocess
from backmix.methods.network import create_network
from backmix.mixing import BackMix
from backmix.train import make_accelerator
from backmix.train.bank import fill_bank

accelerator = make_accelerator("fp32")
rank, world = accelerator.process_index, accelerator.num_processes
source, preprocess = DigitsOnTextures("train"), Preprocess(32)
few = decode(source, source.labels, preprocess, positions=range(33))
torch.manual_seed(0)
network = create_network("compact-s", "softmax", 10, image_size=32, model_options={"width": 0.25})
banks = []
alone = SimpleNamespace(device=accelerator.device, num_processes=1, autocast=accelerator.autocast)
for part, parts, processes in ((rank, world, accelerator), (0, 1, alone)):
    mix = BackMix(33, bank_dtype=torch.uint8)
    loader = ResidentLoader(few, batch_size=8, rank=part, world=parts)
    fill_bank(network, loader.whole(), preprocess, mix, accelerator=processes)
    banks.append(mix.bank.state_dict())
torch.save({"world": world, "together": banks[0], "alone": banks[1]}, Path(sys.argv[1]) / f"{rank}.pt")
accelerator.end_training()
"""

# Batch norm and dropout are what a process does with its own part of a batch; this network has neither.
EQUAL = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from torch import nn
from backmix.classifier import OpenSetClassifier
from backmix.data.digits import DigitsOnTextures
from backmix.fit import fit
from backmix.models import BACKBONES, Backbone
from backmix.train.recipe import TrainOptions
from backmix.train import make_accelerator


class Grouped(Backbone):
    def __init__(self, *, in_channels=3, image_size=None):
        super().__init__("grouped", 32, in_channels=in_channels)
        layers = []
        for inputs, outputs in ((in_channels, 16), (16, 32)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(4, outputs), nn.GELU(), nn.AvgPool2d(2)]
        self.layers = nn.Sequential(*layers)

    def feature_map(self, images):
        return self.layers(images)


BACKBONES["grouped"] = Grouped
CASES = {
    "free": ("softmax", "backmix", {}, None),
    "clean": ("softmax", "randaugment+backmix+cutout", {"foreground": "clean", "donor": "other"}, None),
    "swap": ("softmax", "swap", {}, None),
    "bytes": ("softmax", "backmix", {"bank_dtype": torch.uint8}, None),
    "labels": ("softmax", "cutmix+gridmask", {"cutmix.probability": 1.0}, None),
    "outliers": ("entropic", "backmix", {}, "backgrounds"),
}
accelerator = make_accelerator("fp32")
world = accelerator.num_processes
for name, (method, augmentation, given, outliers) in CASES.items():
    classifier = OpenSetClassifier(["0", "1"], model="grouped", method=method)
    report = fit(
        classifier,
        DigitsOnTextures("train", contrast=0.36),
        options=TrainOptions(
            epochs=4, batch_size=48 // world, lr=0.2, ema=0.5, precision="fp32", zoom=0.1, jitter=0.2, erase=0.2
        ),
        augmentation=augmentation,
        augmentation_options=given,
        outliers=outliers,
        accelerator=accelerator,
    )
    if accelerator.is_main_process:
        state = {
            "network": classifier.network.state_dict(),
            "bank": report.augmentation.state_dict() if report.augmentation else {},
            "history": [[entry.loss, entry.accuracy, entry.lr] for entry in report.history],
        }
        torch.save(state, Path(sys.argv[1]) / f"{name}-{world}.pt")
accelerator.end_training()
"""
CASES = ("free", "clean", "swap", "bytes", "labels", "outliers")


def torchrun(*arguments, processes=2):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(Path(backmix.__file__).parents[1]),
    }
    launcher = [
        "torch.distributed.run",
        f"--nproc-per-node={processes}",
        "--master-addr=127.0.0.1",
        f"--master-port={port}",
    ]
    return subprocess.run(
        [sys.executable, "-m", *launcher, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    script = folder / "training.py"
    script.write_text(TRAINING)
    done = torchrun(script, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("foreground", ["free", "clean"])
def test_two_processes_end_with_the_same_weights_and_bank(together, foreground):
    first, second = (torch.load(together / foreground / f"{rank}.pt") for rank in (0, 1))
    assert first["world"] == second["world"] == 2
    for part in ("network", "bank"):
        assert first[part].keys() == second[part].keys()
        different = [name for name, value in first[part].items() if not torch.equal(value, second[part][name])]
        assert not different
    assert first["history"] == second["history"] and first["threshold"] == second["threshold"]
    assert first["bank"]["bank.seen"].float().mean() > 0.8
    # Each process showed images of its own, and the bank knows those of both.
    shown, others = first["index"], second["index"]
    assert shown.shape == others.shape and not any(set(a.tolist()) & set(b.tolist()) for a, b in zip(shown, others))
    assert first["bank"]["bank.seen"][torch.cat([shown, others]).flatten()].float().mean() > 0.9
    kept = load_checkpoint(together / foreground / "checkpoint.pt")
    assert all(torch.equal(kept["average"][name], value) for name, value in first["network"].items())
    assert torch.equal(kept["augmentation"]["parts.0.bank.maps"], first["bank"]["bank.maps"])


def test_two_processes_fill_one_bank_before_training(tmp_path):
    script = tmp_path / "filling.py"
    script.write_text(FILL)
    done = torchrun(script, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first["world"] == 2 and first["together"]["seen"].float().mean() > 0.8
    for name, value in first["together"].items():
        assert torch.equal(value, second["together"][name])
    # Batches of other sizes round otherwise in the last place, which moves a byte by one at most.
    difference = first["together"]["maps"].int() - first["alone"]["maps"].int()
    assert difference.abs().max() <= 1 and torch.equal(first["together"]["seen"], first["alone"]["seen"])


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_and_two")
    script = folder / "training.py"
    script.write_text(EQUAL)
    for processes in (1, 2):
        done = torchrun(script, folder, processes=processes)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_as_one_with_the_doubled_batch(one_and_two, case):
    one, two = (torch.load(one_and_two / f"{case}-{world}.pt") for world in (1, 2))
    assert torch.allclose(torch.tensor(one["history"]), torch.tensor(two["history"]), atol=1e-3)
    assert one["history"][-1][0] < one["history"][0][0]
    for part in ("network", "bank"):
        assert one[part].keys() == two[part].keys()
        # Odd numbers of outliers do not divide in two, and a mean of means is then another one.
        allowed = 2e-3 if case == "outliers" else 1e-4
        for name, value in one[part].items():
            allowed_here = 1 if value.dtype == torch.uint8 else allowed
            difference = (value.float() - two[part][name].float()).abs().max()
            assert difference <= allowed_here, f"{name} differs by {difference:.2g}"
    assert case == "labels" or one["bank"]["bank.seen"].float().mean() > 0.9


@pytest.mark.slow
def test_the_command_in_two_processes_leaves_one_run(tmp_path):
    arguments = ["digits", "--known-classes", "0,1", "--model", "compact-s", "--augmentation", "backmix"]
    out = tmp_path / "run"
    done = torchrun("-m", "backmix.cli", "fit", *arguments, "--epochs", 2, "--batch-size", 16, "--out", out)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("written to") == 1 and done.stdout.count("epoch 2:") == 1
    assert OpenSetClassifier.load(out).classes == ["0", "1"]
    resumed = torchrun(
        "-m", "backmix.cli", "fit", *arguments, "--epochs", 2, "--batch-size", 16, "--out", out, "--resume"
    )
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    # And what two processes began one can finish.
    fit_command(
        FitArguments("digits", known_classes="0,1", model="compact-s", augmentation="backmix", epochs=2, batch_size=16),
        out,
        resume=True,
    )
