"""What is remembered of an unfinished file, and what is believed of it later."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmix.predict.journal import Answered, Journal, OutputError, digest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.csv.progress"


def filled(path):
    journal = Journal(path)
    journal.begin({"top": 3})
    journal.add_copy("a.png", "red/a.png")
    journal.add_rows([(10, 1, digest("a.png"), "known"), (20, 2, digest("b.png"), "error")])
    journal.add_copy("c.png", "unknown/c.png")
    journal.add_copy("d.png", "unknown/\udcff.png")
    journal.add_rows([(30, 3, digest("d.png"), "unknown")])
    journal.close()


def test_what_is_written_is_read(path):
    filled(path)
    journal = Journal(path)
    assert journal.settings == {"top": 3} and (journal.end, journal.crc) == (30, 3)
    assert journal.counts == {"known": 1, "error": 1, "unknown": 1}
    assert journal.copies == {digest("c.png"): ["unknown/c.png"]}
    assert [journal.answered.take(name) for name in ("a.png", "b.png", "c.png", "d.png", "a.png")] == [
        *(True, True, False, True, False)
    ]
    journal.remove()
    assert not path.exists()


def test_a_new_one_is_empty(path):
    journal = Journal(path)
    assert journal.settings is None and journal.end == 0 and not journal.answered.take("a.png")
    journal.close()


def test_cut_off_anywhere_it_still_says_what_is_sure(path):
    filled(path)
    whole = path.read_bytes()
    ends = {}
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        journal = Journal(path)
        ends[size] = journal.end
        journal.add_rows([(99, 9, digest("z.png"), "known")] if journal.settings else [])
        journal.close()
        if ends[size]:
            journal = Journal(path)  # What is added later is not glued to a torn line.
            assert journal.end == 99 and journal.answered.take("z.png")
            journal.close()
    assert sorted(set(ends.values())) == [0, 10, 20, 30]
    assert list(ends.values()) == sorted(ends.values())


@pytest.mark.parametrize(
    "line",
    [
        b"rubbish\n",
        b'["row",1,2,"short","known"]\n',
        b'["row","1",2,"' + b"0" * 32 + b'","known"]\n',
        b'["copy","' + b"z" * 32 + b'","x"]\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
    ],
)
def test_lines_that_are_none_end_it(path, line):
    filled(path)
    content = path.read_bytes()
    path.write_bytes(content + line + b'["row",40,4,"' + b"0" * 32 + b'","known"]\n')
    journal = Journal(path)
    assert journal.end == 30
    journal.close()
    assert path.read_bytes() == content


def test_another_file_of_that_name_is_left_alone(path):
    path.write_text("my own notes\nof progress\n")
    with pytest.raises(OutputError, match="was not written by backmix predict"):
        Journal(path)
    assert path.read_text() == "my own notes\nof progress\n"


def test_two_at_once_are_refused(path):
    first = Journal(path)
    with pytest.raises(OutputError, match="another backmix predict is writing"):
        Journal(path)
    first.close()
    Journal(path).close()


def test_beginning_again_forgets(path):
    filled(path)
    journal = Journal(path)
    journal.begin({"top": 1})
    journal.close()
    journal = Journal(path)
    assert (journal.settings, journal.end, journal.copies, journal.counts.total()) == ({"top": 1}, 0, {}, 0)
    assert not journal.answered.take("a.png")
    journal.close()


@given(st.lists(st.binary(min_size=1, max_size=3).filter(lambda name: b"\0" not in name), max_size=30), st.data())
def test_each_row_is_taken_as_often_as_it_is_there(names, data):
    paths = list(map(os.fsdecode, names))
    answered = Answered(digest(path) for path in paths)
    asked = data.draw(st.permutations(paths * 2))
    taken = [path for path in asked if answered.take(path)]
    assert sorted(taken) == sorted(paths)


def test_digests_that_end_in_nul(monkeypatch):
    monkeypatch.setattr("backmix.predict.journal.digest", lambda path: path.ljust(32, "0"))
    for path in ("ab", "abcd00", "00"):
        answered = Answered(iter([path.ljust(32, "0"), "f" * 32]))
        assert answered.take(path) and not answered.take(path) and not answered.take("cc")


def test_a_path_is_its_bytes():
    assert digest("caf\udce9.png") != digest(r"caf\xe9.png") and len(digest("a")) == 32


def test_half_a_line_is_taken_back_when_the_disk_is_full(path, monkeypatch):
    journal = Journal(path)
    journal.begin({"top": 3})
    real = os.write
    written = []

    def full(descriptor, data):
        if written:
            raise OSError(28, "No space left on device")
        written.append(data)
        return real(descriptor, data[:9])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        journal.add_rows([(10, 1, digest("a.png"), "known")])
    monkeypatch.setattr(os, "write", real)
    journal.add_rows([(10, 1, digest("a.png"), "known")])
    journal.close()
    journal = Journal(path)
    assert journal.end == 10
    journal.close()
