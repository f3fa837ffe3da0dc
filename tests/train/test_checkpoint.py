"""Checkpoints that come back as they were, or not at all."""

import json
import os
import pickle
import subprocess
import sys
import textwrap

import pytest
import torch
from full_disk import full_disk

from backmix.errors import RunError, TrainingError
from backmix.train.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from backmix.train.recipe import TrainOptions

STATE = {"network": {"weight": torch.arange(6.0).view(2, 3)}, "history": [{"epoch": 0, "loss": 0.5}], "options": "{}"}


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    save_checkpoint(tmp_path / "checkpoint.pt", STATE)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert torch.equal(state["network"].pop("weight"), STATE["network"]["weight"])
    assert state == {**STATE, "network": {}}


def in_subprocess(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def test_a_writer_killed_midway_leaves_the_old_file_and_the_next_one_cleans_up(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    kept = path.read_bytes()
    died = in_subprocess(
        """
        import os, signal, sys
        from pathlib import Path
        from backmix.files import write_atomically

        def write(temporary):
            temporary.write_bytes(b"half a checkp")
            os.kill(os.getpid(), signal.SIGKILL)

        write_atomically(Path(sys.argv[1]), write)
        """,
        path,
    )
    assert died.returncode == -9
    assert path.read_bytes() == kept and len(names(tmp_path)) == 2
    save_checkpoint(path, STATE)
    assert names(tmp_path) == ["checkpoint.pt"]


FULL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from backmix.errors import BackmixError, TrainingError
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files by RLIMIT_FSIZE")
def test_a_full_disk_keeps_the_old_checkpoint_and_the_training_goes_on_afterwards(tmp_path):
    """Every way to write: checkpoints, weights, text. A limit on the size of files is a disk without room."""
    done = in_subprocess(
        FULL_DISK
        + """
    from backmix.files import write_text
    from backmix.classifier import OpenSetClassifier
    from backmix.data.loader import Decoded, ResidentLoader
    from backmix.mixing import BackMix
    from backmix.methods.network import create_network
    from backmix.data.preprocess import Preprocess
    from backmix.train.recipe import TrainOptions
    from backmix.train import train

    folder = Path(sys.argv[1])
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 32, 32), generator=generator, dtype=torch.uint8)
    data = Decoded(images, torch.arange(8) % 2, None, torch.arange(8), [])

    def run(path, **arguments):
        torch.manual_seed(0)
        network = create_network("compact-s", "softmax", 2, image_size=32, model_options={"width": 0.25})
        options = TrainOptions(epochs=3, batch_size=4)
        loader = ResidentLoader(data, batch_size=4)
        train(network, loader, Preprocess(32), options, BackMix(8), checkpoint=path, **arguments)
        return network.state_dict()

    path = folder / "checkpoint.pt"
    kept = []

    def fill_up(report):
        kept.append(path.read_bytes())
        limit(20_000)

    try:
        run(path, on_epoch=fill_up)
    except TrainingError as error:
        message = str(error)
    assert "could not write" in message and "untouched" in message and "--resume" in message, message
    assert len(kept) == 1 and path.read_bytes() == kept[0]
    assert [entry.name for entry in folder.iterdir()] == ["checkpoint.pt"]

    classifier = OpenSetClassifier(["a", "b"], model="compact-s")
    for write in (lambda: classifier.save(folder), lambda: write_text(folder / "long.txt", 30_000 * "x")):
        try:
            write()
        except TrainingError as error:
            assert "could not write" in str(error), error
        else:
            raise AssertionError("written beyond the limit")
        assert [entry.name for entry in folder.iterdir()] == ["checkpoint.pt"]

    limit(resource.RLIM_INFINITY)
    resumed, whole = run(path, resume=True), run(None)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    print("fine")
    """,
        tmp_path,
    )
    assert done.stdout == "fine\n", done.stderr


class Trap:
    """Unpickling one of these makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, legacy):
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "trace"
    torch.save({"network": Trap(str(trace))}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(RunError, match="not a readable checkpoint") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    torch.load(path, weights_only=False)["network"].close()
    assert trace.exists(), "the trap itself must work"


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"no checkpoint", pickle.dumps({"network": {}}, 2), pickle.dumps(os.getcwd, 2)],
    ids=["empty", "zip", "text", "plain pickle", "function"],
)
def test_files_that_are_no_checkpoints(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"checkpoint\.pt is not a (readable )?checkpoint"):
        load_checkpoint(path)


def test_a_checkpoint_cut_off_anywhere_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(RunError, match="not a readable checkpoint"):
            load_checkpoint(path)


def test_a_missing_checkpoint_and_one_of_something_else(tmp_path):
    with pytest.raises(RunError, match="is missing: there is no training to resume"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    torch.save([1, 2], tmp_path / "checkpoint.pt")
    with pytest.raises(RunError, match="found list, expected a dict"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_as_many_other_images_are_not_resumed_on(tmp_path):
    """What stands for the division of the images; a checkpoint of an earlier version has nothing in its place."""
    path = tmp_path / "checkpoint.pt"

    def state(**more):
        return TrainingState(json.dumps({**TrainOptions().to_dict(), **more}), {})

    state(division="ab").save(path, [])
    assert state(division="ab").restore(path, dict) == []
    with pytest.raises(TrainingError, match="other images are trained on"):
        state(division="cd").restore(path, dict)
    state().save(path, [])
    assert state(division="cd").restore(path, dict) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks descriptors up in /proc")
def test_a_full_disk_is_called_so_and_keeps_the_checkpoint_from_before(tmp_path):
    """torch reports its own bookkeeping, "unexpected pos", where a write into its file fails."""
    path = tmp_path / "checkpoint.pt"
    old, new = {"weights": torch.zeros(50_000)}, {"weights": torch.ones(50_000)}
    save_checkpoint(path, old)
    with full_disk(tmp_path) as counted:
        save_checkpoint(path, new)
    for at in range(1, counted.done + 1):
        save_checkpoint(path, old)
        with full_disk(tmp_path, at), pytest.raises(TrainingError, match="No space left on device") as caught:
            save_checkpoint(path, new)
        kept = load_checkpoint(path)["weights"][0]
        assert kept == (0 if "untouched" in str(caught.value) else 1), counted.log[at - 1]
