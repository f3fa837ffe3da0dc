"""Files that are whole or as they were, whatever happens while they are written."""

import errno
import json
import os

import pytest

from backmix.errors import TrainingError
from backmix.files import (
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
