"""Files that are whole or as they were, whatever happens while they are written."""

import errno
import json
import multiprocessing
import os
import time

import pytest

from backmix.errors import RunError, TrainingError
from backmix.files import (
    LOCK,
    is_locked,
    locked,
    make_folder,
    nothing_left_of_a_refusal,
    sha256,
    write_atomically,
    write_bytes,
    write_json,
    write_text,
)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_made_with_its_folders_and_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    write_text(path, "first, größer 🙂\n")
    assert path.read_bytes() == "first, größer 🙂\n".encode()
    write_text(path, "second")
    assert path.read_text() == "second" and names(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("write failed")])
def test_a_writer_that_fails_midway_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("ne")
        raise error

    with pytest.raises(TrainingError, match=r"could not write .*file.*untouched.*Make room on the disk.*--resume"):
        write_atomically(path, write)
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_the_first_file_that_cannot_be_written_is_not_called_untouched(tmp_path):
    def write(temporary):
        raise OSError(13, "Permission denied")

    with pytest.raises(TrainingError) as caught:
        write_atomically(tmp_path / "file", write)
    assert "Permission denied" in str(caught.value)
    assert "untouched" not in str(caught.value) and "room" not in str(caught.value)


def test_other_errors_pass_and_leave_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError):
        write_atomically(path, lambda temporary: {}["missing"])
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.EROFS, "Choose a folder that may be written to"), (errno.EACCES, "Choose a folder")]
)
def test_a_disk_that_refuses_everything_is_named_and_not_hidden(tmp_path, monkeypatch, number, hint):
    """A read-only disk refuses to remove what is not there, too."""
    path = tmp_path / "file.txt"
    path.write_text("old")

    def refuse(path, *args, **options):
        raise OSError(number, os.strerror(number), str(path))

    for name in ("mkdir", "write_bytes", "write_text", "unlink"):
        monkeypatch.setattr(type(path), name, refuse)
    why = os.strerror(number)
    for call in (lambda: write_text(path, "new"), lambda: write_bytes(path, b"new"), lambda: write_json(path, [])):
        with pytest.raises(TrainingError, match=rf"could not write \S*: {why}.*{hint}") as caught:
            call()
        assert "Errno" not in str(caught.value) and ".tmp" not in str(caught.value)
    with pytest.raises(TrainingError, match=rf"could not write {tmp_path / 'new'}: {why}. {hint}"):
        make_folder(tmp_path / "new")
    monkeypatch.undo()
    assert path.read_text() == "old"


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "inside"):
        with pytest.raises(TrainingError, match=f"could not write {folder}: "):
            make_folder(folder)


def test_what_cannot_be_removed_does_not_hide_the_refusal(tmp_path, monkeypatch):
    def refuse(path, *args, **options):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with (
        pytest.raises(ValueError, match="the refusal"),
        nothing_left_of_a_refusal(tmp_path / "run", lambda: False),
    ):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "file").write_text("")
        monkeypatch.setattr(type(tmp_path), "unlink", refuse)
        raise ValueError("the refusal")


def test_nothing_is_renamed_before_it_is_synced(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("sync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("rename"), replace(*paths)))
    write_text(tmp_path / "file", "text")
    assert calls == ["sync", "rename", "sync"]


def test_json_is_readable_and_strict(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"name": "größer", "values": [1, 0.5, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "größer", "values": [1, 0.5, None]}
    assert "größer" in path.read_text(encoding="utf-8") and path.read_text().endswith("}\n")
    kept = path.read_text()
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            write_json(path, {"value": number})
    assert path.read_text() == kept


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_bytes_are_written_whole_and_replaced(tmp_path):
    path = tmp_path / "new" / "file.bin"
    for content in (bytes(range(256)) * 40, b"\r\n\x00"):
        write_bytes(path, content)
        assert path.read_bytes() == content and names(path.parent) == ["file.bin"]


def fill(folder):
    (folder / "logs").mkdir(parents=True)
    for name in ("config.yaml", "logs/events", ".config.yaml.tmp"):
        (folder / name).write_text("begun")


def fail(folder, error, worth=False):
    with pytest.raises(type(error)), nothing_left_of_a_refusal(folder, lambda: worth):
        fill(folder)
        raise error


def test_a_refusal_leaves_nothing_behind(tmp_path):
    out = tmp_path / "a" / "b"
    fail(out, ValueError("refused"))
    assert not any(tmp_path.iterdir())
    out.mkdir(parents=True)
    fail(out, OSError("refused"))
    assert out.is_dir() and not any(out.iterdir())


def test_what_an_interruption_or_work_leaves_is_kept(tmp_path):
    for number, (error, worth) in enumerate([(KeyboardInterrupt(), False), (ValueError(), True)]):
        fail(tmp_path / str(number), error, worth)
        assert (tmp_path / str(number) / "logs" / "events").is_file()
    with nothing_left_of_a_refusal(tmp_path / "done", lambda: False):
        fill(tmp_path / "done")
    assert (tmp_path / "done" / "config.yaml").is_file()


def test_what_was_there_before_a_refusal_is_kept(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    fail(tmp_path, ValueError())
    assert (tmp_path / "mine.txt").read_text() == "mine"
    # A link into another folder is removed, what it leads to is not.
    out, other = tmp_path / "out", tmp_path / "other"
    fill(other)
    with pytest.raises(ValueError), nothing_left_of_a_refusal(out, lambda: False):
        out.mkdir()
        (out / "link").symlink_to(other)
        raise ValueError
    assert not out.exists() and (other / "config.yaml").is_file()


def hold(folder, ready):
    with locked(folder):
        ready.set()
        time.sleep(60)


@pytest.fixture
def other_process(tmp_path):
    """A process that has locked tmp_path / "run"."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "run", ready))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


def test_a_folder_that_another_process_works_on(tmp_path, other_process):
    folder = tmp_path / "run"
    (folder / "work").write_text("half")
    assert is_locked(folder)
    with pytest.raises(RunError, match="another process works on"), locked(folder):
        pytest.fail("both work on it")
    # A refusal removes nothing of the other process.
    with pytest.raises(RunError), locked(folder), nothing_left_of_a_refusal(folder, lambda: False):
        pytest.fail("both work on it")
    assert (folder / "work").read_text() == "half"
    other_process.kill()
    other_process.join()
    assert not is_locked(folder) and (folder / LOCK).is_file()
    with locked(folder):
        assert not is_locked(folder)  # Of this process.
    assert sorted(each.name for each in folder.iterdir()) == ["work"]


def test_a_lock_leaves_nothing_behind_and_may_be_taken_twice(tmp_path):
    with locked(tmp_path / "new" / "run"):
        with locked(tmp_path / "new" / "run"):
            pass
        assert (tmp_path / "new" / "run" / LOCK).is_file()
    assert not (tmp_path / "new").exists()
    with locked(tmp_path / "new" / "run"):
        (tmp_path / "new" / "run" / "file").touch()
    assert [each.name for each in (tmp_path / "new" / "run").iterdir()] == ["file"]
    with (
        pytest.raises(ValueError),
        locked(tmp_path / "other"),
        nothing_left_of_a_refusal(tmp_path / "other", lambda: False),
    ):
        (tmp_path / "other" / "half").touch()
        raise ValueError
    assert not (tmp_path / "other").exists()


def test_what_killed_processes_left_is_removed_and_what_others_write_is_not(tmp_path):
    from filelock import lock_descriptor

    for name in (".left.txt.tmp", ".written.txt.tmp", ".hidden", "own.tmp"):
        (tmp_path / name).touch()
    with open(tmp_path / ".written.txt.tmp", "a") as file:
        lock_descriptor(file.fileno())
        with locked(tmp_path):
            pass
    assert names(tmp_path) == [".hidden", ".written.txt.tmp", "own.tmp"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="could not write .*file/run"), locked(tmp_path / "file" / "run"):
        pass


def write_often(path, letter, ready):
    ready.set()
    for _ in range(60):
        write_bytes(path, letter * 200_000)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not rename open files")
def test_two_processes_that_write_one_file_leave_one_whole_file(tmp_path):
    context = multiprocessing.get_context("spawn")
    events = [context.Event() for _ in "ab"]
    path = tmp_path / "file"
    processes = [
        context.Process(target=write_often, args=(path, letter, ready))
        for letter, ready in zip((b"a", b"b"), events, strict=True)
    ]
    for process in processes:
        process.start()
    for ready in events:
        assert ready.wait(60)
    while any(process.is_alive() for process in processes):
        if path.exists():
            assert path.read_bytes() in (b"a" * 200_000, b"b" * 200_000)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
