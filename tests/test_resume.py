"""A training killed at any moment and resumed ends as one that nobody touched, to the bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import backmix
from backmix.train.checkpoint import load_checkpoint

ARGUMENTS = [
    *("fit", "digits", "--known-classes", "0,1", "--model", "compact-s", "--epochs", "5", "--batch-size", "16"),
    *("--augmentation", "backmix", "--seed", "3"),
]


def start(out, *more):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(Path(backmix.__file__).parents[1]),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "backmix.cli", *ARGUMENTS, "--out", str(out), *more],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def kill_at_random(process, checkpoint, dice):
    """Kill some time after the first checkpoint; say how long after."""
    end = time.monotonic() + 60
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "no checkpoint came"
        time.sleep(0.002)
    delay = dice.uniform(0, 0.6)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return delay


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_training_resumes_to_the_same_weights_and_bank(tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    untouched = start(whole)
    checkpoint = killed / "checkpoint.pt"
    delay = kill_at_random(start(killed), checkpoint, random.Random(seed))
    done = len(load_checkpoint(checkpoint)["history"])
    story = f"seed {seed}, killed {delay:.3f} s after the first checkpoint, {done} epochs done"
    assert done >= 1, story
    said = finish(start(killed, "--resume"))
    finish(untouched)
    assert "epoch 1:" not in said, story
    for name in ("model.safetensors", "calibration.json", "classes.json"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), f"{name}: {story}"
    ours, theirs = load_checkpoint(whole / "checkpoint.pt"), load_checkpoint(checkpoint)
    for part in ("network", "average", "augmentation"):
        assert ours[part].keys() == theirs[part].keys() and ours[part]
        assert all(torch.equal(ours[part][name], theirs[part][name]) for name in ours[part]), f"{part}: {story}"
    assert ours["augmentation"]["parts.0.bank.seen"].all()
    assert str(ours["optimizer"]["param_groups"]) == str(theirs["optimizer"]["param_groups"])
    histories = [json.loads((run / "metrics.json").read_text())["history"] for run in (whole, killed)]
    assert histories[0] == histories[1] and len(histories[0]) == 5
    assert not [entry.name for entry in killed.iterdir() if entry.name.endswith(".tmp")]
