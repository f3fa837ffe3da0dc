"""A grid killed with SIGKILL twice and started again ends with the results of one that was never killed."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest

from backmix.benchmark.grid import make_grid
from backmix.benchmark.grid_options import GridOptions
from backmix.benchmark.results import read_results
from backmix.benchmark.runner import CELLS, run_grid

GRID = make_grid([("digits", "neal", ["a", "b"])])
EPOCHS = 3


def start(out):
    command = [sys.executable, "-m", "backmix", "bench", "digits", "--split-list", "neal", "--trials", "a,b"]
    command += ["--epochs", str(EPOCHS), "--precision", "fp32", "--detectors", "method", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_when(process, there, what):
    """Kill a grid as soon as `there()`; its cells must not all be done by then."""
    deadline = time.monotonic() + 150
    while not there():
        assert process.poll() is None, f"ended before {what}: {process.stderr.read().decode()}"
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_killed_twice_and_never_killed_end_alike(tmp_path):
    whole = run_grid(GRID, tmp_path / "whole", GridOptions(epochs=EPOCHS, precision="fp32", detectors=("method",)))
    out = tmp_path / "killed"
    first, third = (out / CELLS / GRID[number].name for number in (0, 2))
    kill_when(start(out), lambda: (first / "checkpoint.pt").exists(), "the first epoch of the first cell")
    assert not (first / "metrics.json").exists()
    kill_when(start(out), lambda: (third / "cell.json").exists(), "the third cell")
    assert len(read_results(out / "results.csv")) == 2
    process = start(out)
    _, error = process.communicate(timeout=200)
    assert process.returncode == 0, error.decode()
    # The same but for the time it took.
    without_time = [
        [dataclasses.replace(row, seconds=None) for row in rows]
        for rows in (whole.rows, read_results(out / "results.csv"))
    ]
    assert without_time[0] == without_time[1] and len(whole.rows) == len(GRID)
    assert (first / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / CELLS / GRID[0].name / "model.safetensors"
    ).read_bytes()
