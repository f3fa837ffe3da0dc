"""What is kept of features between runs: any process finds it, the file is bounded, and a broken one costs nothing."""

import multiprocessing
import sqlite3

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backmix.inference import feature_cache
from backmix.inference.feature_cache import FILE, FeatureCache, default_folder


def vector(number: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(number).normal(size=size).astype(np.float32)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_what_is_kept_is_found_to_the_last_bit_and_only_in_its_space(tmp_path):
    FeatureCache(tmp_path / "new" / "folder").keep("lite0", {key(1): vector(1), key(2): vector(2)})
    cache = FeatureCache(tmp_path / "new" / "folder")
    found = cache.find("lite0", [key(2), key(3), key(1)])
    assert set(found) == {key(1), key(2)} and len(cache) == 2 and cache.note is None
    np.testing.assert_array_equal(found[key(1)], vector(1))
    assert found[key(1)].dtype == np.float32 and found[key(1)].flags.writeable
    assert cache.find("lite1", [key(1)]) == {} == cache.find("lite0", [])


def test_other_bytes_are_found_as_they_are_beside_features(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.keep_bytes("heads", {key(1): b"\x00any", key(2): b""})
    cache.keep("features", {key(1): vector(1)})
    assert FeatureCache(tmp_path).find_bytes("heads", [key(1), key(2), key(3)]) == {key(1): b"\x00any", key(2): b""}
    assert FeatureCache(tmp_path).find_bytes("features", [key(1)]) == {key(1): vector(1).tobytes()}


def test_the_newest_features_of_an_image_replace_the_old(tmp_path):
    cache = FeatureCache(tmp_path)
    for number in (1, 2):
        cache.keep("space", {key(0): vector(number)})
    np.testing.assert_array_equal(cache.find("space", [key(0)])[key(0)], vector(2))
    assert len(cache) == 1


@given(st.sets(st.integers(0, 3000), max_size=1500), st.sets(st.integers(0, 3000), max_size=1500))
def test_any_number_of_keys(kept, asked):
    cache = FeatureCache(None)
    cache.keep("space", ((key(number), vector(number, 2)) for number in kept))
    assert set(cache.find("space", [key(number) for number in asked])) == {key(number) for number in kept & asked}


def test_more_keys_than_one_question_takes(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.keep("space", {key(number): vector(number, 2) for number in range(1700)})
    found = cache.find("space", [key(number) for number in range(2000)])
    assert len(found) == 1700
    np.testing.assert_array_equal(found[key(1699)], vector(1699, 2))


def test_the_oldest_features_go_when_the_file_is_full(tmp_path, monkeypatch):
    now = [1e9]
    monkeypatch.setattr(feature_cache.time, "time", lambda: now[0])
    cache = FeatureCache(tmp_path, limit=400_000)
    for day in range(40):
        now[0] += 90_000  # More than a day, so that a use is written down.
        cache.keep("space", {key(day * 10 + number): vector(day, 1280) for number in range(10)})
        assert cache.find("space", [key(0)]), "what is used every day stays"
    assert (tmp_path / FILE).stat().st_size < 600_000
    assert cache.find("space", [key(399)]) and not cache.find("space", [key(11)]) and cache.note is None


def _fill(folder, start):
    cache = FeatureCache(folder)
    for number in range(start, start + 40):
        cache.keep("space", {key(number): vector(number)})
    return cache.note


def test_two_processes_fill_one_file(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        notes = pool.starmap(_fill, [(tmp_path, 0), (tmp_path, 20)])
    cache = FeatureCache(tmp_path)
    found = cache.find("space", [key(number) for number in range(60)])
    assert notes == [None, None] and len(found) == 60
    assert all((found[key(number)] == vector(number)).all() for number in range(60))


def test_a_deleted_file_is_made_again(tmp_path):
    FeatureCache(tmp_path).keep("space", {key(1): vector(1)})
    (tmp_path / FILE).unlink()
    cache = FeatureCache(tmp_path)
    assert cache.find("space", [key(1)]) == {} and cache.note is None


def test_a_damaged_file_is_named_and_costs_nothing(tmp_path):
    content = b"no database at all, but long enough to be taken for one" * 40
    (tmp_path / FILE).write_bytes(content)
    cache = FeatureCache(tmp_path)
    assert str(tmp_path / FILE) in cache.note and "delete it" in cache.note
    cache.keep("space", {key(1): vector(1)})
    np.testing.assert_array_equal(cache.find("space", [key(1)])[key(1)], vector(1))
    assert (tmp_path / FILE).read_bytes() == content


def test_a_file_of_a_later_version_is_left_alone(tmp_path):
    FeatureCache(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute("PRAGMA user_version = 99")
    assert "layout 99" in FeatureCache(tmp_path).note


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    cache = FeatureCache(tmp_path / "file")
    assert cache.note is not None
    cache.keep("space", {key(1): vector(1)})
    assert len(cache) == 1


def test_a_disk_that_fills_up_loses_nothing(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path)
    cache.keep("space", {key(1): vector(1)})
    opened = cache._open

    def full():
        connection = opened()
        # SQLite then says what it says when a disk is full.
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        return connection

    monkeypatch.setattr(cache, "_open", full)
    cache.keep("space", {key(number): vector(number, 4000) for number in range(2, 60)})
    assert "full" in cache.note and len(cache.find("space", [key(n) for n in range(2, 60)])) == 58
    again = FeatureCache(tmp_path)
    assert again.note is None and len(again) == 1
    np.testing.assert_array_equal(again.find("space", [key(1)])[key(1)], vector(1))


def test_the_folder_is_the_user_s_or_the_one_in_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("BACKMIX_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("BACKMIX_CACHE")
    assert default_folder().name == "backmix"
