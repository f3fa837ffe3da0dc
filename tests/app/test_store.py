"""What waits for an answer has bounds, and what was not stored whole leaves nothing."""

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.app import store as module
from backmix.app.store import KEEP, STALE, Refused, Store


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    return Store(tmp_path / "uploads", most_bytes=100, most_files=4, clock=clock)


def put(store, size):
    file = store.begin()
    try:
        file.write(b"x" * size)
    except Refused:
        file.drop()
        raise
    return file.keep()


def on_disk(store):
    sizes = [path.stat().st_size for path in store.folder.iterdir()] if store.folder.exists() else []
    return sum(sizes), len(sizes)


def test_a_file_is_kept_until_it_is_forgotten(store):
    path = put(store, 30)
    assert Path(path).read_bytes() == b"x" * 30 and (os.stat(path).st_mode & 0o077 == 0 or os.name == "nt")
    assert store.used == on_disk(store) == (30, 1)
    store.forget([path, path, "", "\0", "x" * 5000])
    assert store.used == on_disk(store) == (0, 0)


def test_a_path_outside_is_never_deleted(store, tmp_path):
    (tmp_path / "mine").write_text("mine")
    put(store, 1)
    store.forget([str(tmp_path / "mine"), f"{store.folder}/../mine"])
    assert (tmp_path / "mine").exists() and store.used == (1, 1)


def test_the_sum_is_bounded_and_counts_what_still_arrives(store):
    arriving = store.begin()
    arriving.write(b"x" * 60)
    with pytest.raises(Refused, match=r"no room for more pictures.*--max-space") as refused:
        put(store, 41)
    assert refused.value.status == 507
    assert store.used == on_disk(store) == (60, 1)
    path = put(store, 40)
    with pytest.raises(Refused):
        arriving.write(b"x")
    store.forget([path])
    arriving.write(b"x" * 40)
    arriving.drop()
    assert store.used == on_disk(store) == (0, 0)


def test_the_number_of_files_is_bounded(store):
    for _ in range(4):
        put(store, 0)
    with pytest.raises(Refused, match="4 files"):
        store.begin()
    assert store.used == on_disk(store) == (0, 4)


def test_those_that_wait_longest_make_room(store, clock):
    old = put(store, 50)
    clock.now = STALE / 2
    young = put(store, 50)
    with pytest.raises(Refused):
        put(store, 1)
    clock.now = STALE
    third = put(store, 20)
    assert not os.path.exists(old) and os.path.exists(young) and os.path.exists(third)
    assert store.used == on_disk(store) == (70, 2)


def test_nothing_stays_for_longer_than_an_hour(store, clock):
    old = put(store, 5)
    clock.now = KEEP - 1
    young = put(store, 5)
    store.expire()
    assert os.path.exists(old)
    clock.now = KEEP
    store.expire()
    assert not os.path.exists(old) and os.path.exists(young) and store.used == (5, 1)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_said_and_leaves_nothing(store, monkeypatch, code):
    real = os.write

    def full(descriptor, data):
        if len(data) > 8:
            return real(descriptor, data[:8])
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(module.os, "write", full)
        with pytest.raises(Refused, match="disk .* is full") as refused:
            put(store, 16)
    assert refused.value.status == 507 and store.used == on_disk(store) == (0, 0)
    put(store, 16)


def test_a_disk_that_fails_otherwise_is_said_too(store, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "whatever")

    monkeypatch.setattr(module.os, "write", broken)
    with pytest.raises(Refused, match="cannot store the picture") as refused:
        put(store, 16)
    assert refused.value.status == 500 and store.used == on_disk(store) == (0, 0)


def test_a_full_disk_where_the_file_is_made(store, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", full)
        with pytest.raises(Refused, match="disk .* is full"):
            store.begin()
    assert store.used == (0, 0)


def test_a_cleaner_of_temporary_files_does_no_harm(store):
    path = put(store, 5)
    os.unlink(path)
    store.folder.rmdir()
    assert os.path.exists(put(store, 6))
    store.forget([path])
    assert store.used == (6, 1)


def test_nothing_is_taken_after_the_end(store):
    path, arriving = put(store, 5), store.begin()
    store.close()
    assert not os.path.exists(path)
    for action in (store.begin, lambda: arriving.write(b"x")):
        with pytest.raises(Refused, match="being closed"):
            action()
    arriving.keep()
    assert store.used == on_disk(store) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("pbkdfet"), st.integers(0, 60)), max_size=60))
def test_whatever_is_done_the_bounds_hold_and_the_count_is_true(tmp_path_factory, steps):
    clock = Clock()
    store = Store(tmp_path_factory.mktemp("store"), most_bytes=100, most_files=4, clock=clock)
    arriving, kept = [], []
    for what, number in steps:
        try:
            if what == "b":
                arriving.append(store.begin())
            elif what == "p" and arriving:
                arriving[-1].write(b"x" * number)
            elif what == "k" and arriving:
                kept.append(arriving.pop(0).keep())
            elif what == "d" and arriving:
                arriving.pop().drop()
            elif what == "f":
                store.forget(kept[:number])
            elif what == "e":
                store.expire()
            elif what == "t":
                clock.now += 100 * number
        except Refused:
            pass
        assert store.used == on_disk(store)
        assert store.used[0] <= 100 and store.used[1] <= 4
    for file in arriving:
        file.drop()
    store.close()
    assert store.used == on_disk(store) == (0, 0)


def test_many_threads_at_once(tmp_path):
    store = Store(tmp_path, most_bytes=500, most_files=20)

    def work():
        for size in range(60):
            with suppress(Refused):
                store.forget([put(store, size)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.used == on_disk(store) == (0, 0)
