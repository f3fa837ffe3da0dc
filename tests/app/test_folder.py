"""The folder of a process: nobody else's, gone at the end, and swept when the process was killed."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from backmix.app import folder as module
from backmix.app.folder import parent_folder, process_folder, sweep
from backmix.errors import BackmixError

HOLD = """
import sys, pathlib, time
from backmix.app.folder import process_folder
with process_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "picture").write_bytes(b"picture")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds a folder, with a picture in it, until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.folder = process.stdout.readline().strip()
    yield process
    process.kill()
    process.communicate()


def test_a_folder_is_the_users_alone_and_gone_at_the_end(tmp_path):
    with process_folder(tmp_path) as one, process_folder(tmp_path) as two:
        assert one != two and one.parent == two.parent == tmp_path
        assert stat.S_IMODE(one.stat().st_mode) == 0o700 and list(one.iterdir()) == []
        (one / "x").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_nothing_either(tmp_path):
    with pytest.raises(KeyboardInterrupt), process_folder(tmp_path) as folder:
        (folder / "x").write_bytes(b"x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_next_start_removes_what_a_killed_process_left(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert os.path.exists(f"{other.folder}/deep/picture"), "SIGKILL leaves it"
    with process_folder(tmp_path) as ours:
        assert {path.name for path in tmp_path.iterdir()} == {ours.name, f"{ours.name}.lock"}


def test_a_start_leaves_the_folder_of_a_living_process(tmp_path, other):
    with process_folder(tmp_path):
        sweep(tmp_path)
        assert os.path.exists(f"{other.folder}/deep/picture")
    other.communicate("")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_lock_is_swept_and_what_is_not_ours_stays(tmp_path):
    (tmp_path / "page-0" / "uploads").mkdir(parents=True)
    (tmp_path / "page-1.lock").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("mine")
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_locks_nothing_is_swept(tmp_path, monkeypatch):
    def no_locks(*_, **__):
        raise OSError("there are no locks here")

    monkeypatch.setattr(module, "lock_descriptor", no_locks)
    with process_folder(tmp_path) as one:
        with process_folder(tmp_path):
            assert one.exists()
        assert one.exists()


def test_a_lock_that_was_swept_before_it_was_held_is_not_used(tmp_path, monkeypatch):
    """Another process may remove the file of the lock just after it was made; then a folder would stand without one."""
    real, calls = module.lock_descriptor, []

    def swept_first(descriptor, **options):
        if not calls:
            calls.append(next(tmp_path.glob("*.lock")))
            calls[0].unlink()
        return real(descriptor, **options)

    monkeypatch.setattr(module, "lock_descriptor", swept_first)
    with process_folder(tmp_path) as folder:
        assert folder.name != calls[0].stem and (tmp_path / f"{folder.name}.lock").exists()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no owners of files")
def test_the_parent_is_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    parent = parent_folder()
    assert parent == tmp_path / f"backmix-app-{os.getuid()}" == parent_folder()
    parent.chmod(0o777)
    assert stat.S_IMODE(parent_folder().stat().st_mode) == 0o700
    monkeypatch.setattr(module.os, "getuid", lambda: 12345)
    (tmp_path / "backmix-app-12345").mkdir()
    with pytest.raises(BackmixError, match="not a folder of yours.*TMPDIR"):
        parent_folder()
    (tmp_path / "backmix-app-12345").rmdir()
    (tmp_path / "backmix-app-12345").symlink_to(tmp_path)
    with pytest.raises(BackmixError, match="not a folder of yours"):
        parent_folder()
