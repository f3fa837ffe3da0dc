"""The journal: whole lines count, what was cut off does not, other settings are refused."""

import numpy as np
import pytest

from backmix.audit.journal import FILE, RECORD, Journal, fingerprint
from backmix.errors import DataError, TrainingError

SETTINGS = {"model": "a", "seed": 0}


def records(first, count=3):
    found = np.zeros(count, dtype=RECORD)
    found["item"] = np.arange(first, first + count)
    found["truth"] = [np.nan, *np.linspace(0, 1, count - 1)]
    return found


def write(folder, chunks=3):
    journal = Journal(folder, SETTINGS)
    for number in range(chunks):
        journal.add(records(10 * number))
    journal.close()


def read(folder, settings=SETTINGS):
    journal = Journal(folder, settings, resume=True)
    journal.close()
    return journal.chunks


def test_what_was_added_comes_back_bit_for_bit(tmp_path):
    write(tmp_path)
    found = read(tmp_path)
    assert [chunk.tobytes() for chunk in found] == [records(10 * number).tobytes() for number in range(3)]


def test_a_journal_may_begin_with_resume_and_hold_nothing(tmp_path):
    assert read(tmp_path) == [] and read(tmp_path) == []


@pytest.mark.parametrize("cut", [1, 30, 60])
def test_a_line_that_is_cut_off_is_written_again(tmp_path, cut):
    write(tmp_path)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:-cut])
    journal = Journal(tmp_path, SETTINGS, resume=True)
    assert len(journal.chunks) == 2
    journal.add(records(20))
    journal.close()
    assert (tmp_path / FILE).read_bytes() == content


def test_a_line_that_was_altered_ends_what_counts(tmp_path):
    write(tmp_path)
    lines = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"records": "', b'"records": "B', 1)
    (tmp_path / FILE).write_bytes(b"".join(lines))
    assert len(read(tmp_path)) == 1


def test_a_first_line_that_is_cut_off_is_a_new_beginning(tmp_path):
    write(tmp_path)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:10])
    assert read(tmp_path) == []
    assert content.startswith((tmp_path / FILE).read_bytes())


def test_another_audit_is_not_overwritten(tmp_path):
    write(tmp_path)
    with pytest.raises(DataError, match="holds an audit already; go on with it by --resume"):
        Journal(tmp_path, SETTINGS)
    with pytest.raises(DataError, match="other settings: seed was 0, is 1; choose another folder"):
        read(tmp_path, {**SETTINGS, "seed": 1})
    assert len(read(tmp_path)) == 3
    (tmp_path / FILE).write_text("hello\n")
    with pytest.raises(DataError, match="not one of backmix audit"):
        read(tmp_path)


def test_a_fingerprint_is_of_the_settings_alone():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})


def test_a_journal_that_cannot_be_written_says_where(tmp_path, monkeypatch):
    def refuse(path, *args, **options):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(TrainingError, match=f"could not write {tmp_path / 'audit.journal'}: Read-only file system"):
        Journal(tmp_path, {"seed": 0})
