"""A disk that gets full at any write: every command says so in a sentence, loses nothing, and goes on with room."""

import errno
import os
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest
from full_disk import full_disk
from full_disk_commands import COMMANDS, make_materials, sweep
from study_cells import made_cell

from backmix.cli import study_command
from backmix.errors import TrainingError
from backmix.files import write_text
from backmix.inference import engine

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks descriptors up in /proc")

LONG = ("fit", "fit-photos", "fit-head", "onnx", "torchscript", "bench", "study", "demo")
"""Commands of which an attempt takes seconds."""


@pytest.fixture(scope="module")
def materials(tmp_path_factory):
    return make_materials(tmp_path_factory.mktemp("materials"))


@pytest.fixture
def swept(materials, tmp_path, monkeypatch):
    """Sweep over a command, and expect that nothing was lost."""
    pytest.importorskip("pyarrow.parquet")
    # The cells of a study take long, and write nothing by themselves.
    monkeypatch.setattr(study_command, "run_cell", lambda setting, cell, workers: made_cell(cell))

    def call(name, **options):
        if name == "fit-head":
            from published_stand_in import put_weights

            put_weights(monkeypatch, tmp_path / "hub")
            # Which engine is faster is the clock's choice, and the two round differently.
            monkeypatch.setattr(engine, "measure", lambda *_: 1.0)
        found = sweep(name, materials, tmp_path / "sweep", **options)
        print(f"{name}: {found.operations} operations, {len(found.tried)} tried")
        assert found.operations and found.tried
        assert not found.lost, "\n".join(found.lost)

    return call


def test_every_kind_of_operation_is_counted_and_refused(tmp_path):
    def write_path():
        Path(inside / "a").write_text("abc")

    def write_descriptor():
        number = os.open(inside / "b", os.O_CREAT | os.O_WRONLY)
        try:
            os.write(number, b"1")
            os.fsync(number)
        finally:
            os.close(number)

    def rename():
        os.replace(inside / "there", inside / "c")

    def table():
        with sqlite3.connect(inside / "d") as file:
            file.execute("CREATE TABLE one (two)")

    def empty():
        shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir()
        (inside / "there").touch()

    inside = tmp_path / "inside"
    kinds = {
        write_path: ["open", "write"],
        write_descriptor: ["open", "write", "fsync"],
        rename: ["replace"],
        table: ["sqlite", "sqlite"],
        (inside / "e").mkdir: ["mkdir"],
    }
    for call, operations in kinds.items():
        for at in range(1, len(operations) + 1):
            empty()
            with (
                full_disk(inside, at) as disk,
                pytest.raises((OSError, sqlite3.OperationalError), match=r"[Nn]o space|full|open"),
            ):
                call()
            assert [name for name, _ in disk.log][:at] == operations[:at]
        empty()
        with full_disk(inside) as disk:
            call()
        assert [name for name, _ in disk.log] == operations
    (inside / "f").write_text("abc")
    with full_disk(inside, 1) as disk:  # Another disk has room, and reading and deleting need none.
        (tmp_path / "outside").write_text("abc")
        assert (inside / "f").read_text() == "abc"
        (inside / "f").unlink()
    assert disk.done == 0


def test_the_first_write_without_room_writes_a_half_and_all_is_as_before_afterwards(tmp_path):
    real = open
    with full_disk(tmp_path, 2) as disk:
        assert open is not real
        file = open(tmp_path / "a", "wb", buffering=0)  # noqa: SIM115
        assert file.write(b"abcdef") == 3
        with pytest.raises(OSError) as caught:
            file.write(b"def")
        file.close()
    assert caught.value.errno == errno.ENOSPC and (tmp_path / "a").read_bytes() == b"abc"
    assert open is real and [name for name, _ in disk.log] == ["open", "write", "write"]


def test_a_file_is_as_before_or_as_after_whichever_operation_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with full_disk(tmp_path) as counted:
        write_text(path, "new text")
    said = set()
    for at in range(1, counted.done + 1):
        path.write_text("old")
        with full_disk(tmp_path, at), pytest.raises(TrainingError, match="No space left on device") as caught:
            write_text(path, "new text")
        # What is said of the file is true: the rename may have been done when its folder cannot be synced.
        assert path.read_text() == ("old" if "untouched" in str(caught.value) else "new text")
        assert [each.name for each in tmp_path.iterdir()] == ["file"]
        said.add(str(caught.value).split(":")[0])
    assert said == {f"could not write {path}", f"wrote {path}, but could not sync its folder"}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in LONG])
def test_nothing_is_lost_at_a_few_operations(swept, name):
    swept(name, draw=4, seed=len(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in LONG])
def test_nothing_is_lost_at_any_operation(swept, name):
    swept(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_nothing_is_lost_by_long_commands(swept, name):
    swept(name, draw=2 if name == "demo" else 12)
