"""The results file: reading gives back what was written, and what is wrong is named."""

import csv
import dataclasses
import itertools
import math

import numpy as np
import pytest
from benchmark_rows import PLAIN, row
from hypothesis import given
from hypothesis import strategies as st

from backmix.benchmark.results import FIGURES, KEY, KINDS, LOWER_IS_BETTER, Row, read_results, row_from, write_results
from backmix.errors import DataError

COLUMNS = """protocol, split_list, trial, fingerprint, unknown_set, method, augmentation, variant, seed, recipe,
detector, accuracy, auroc, oscr, aupr_in, aupr_out, fpr95, detection_accuracy, accepted_known, rejected_unknown,
accuracy_with_rejection, macro_f1, held_out_accuracy, train_images, known_images, unknown_images, model, epochs,
precision, device, threads, seconds, version"""

texts = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs",)), max_size=8)
of_kind = {
    "str": texts,
    "int": st.integers(0, 10**9),
    "float | None": st.none() | st.floats(0, 1),
}
any_row = st.builds(Row, **{name: of_kind[kind] for name, kind in KINDS.items()})


def write(path, lines):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return path


def cells(**changes):
    return ["" if value is None else str(value) for value in (PLAIN | changes).values()]


def test_columns_stand_in_their_order():
    assert list(KINDS) == [name.strip() for name in COLUMNS.split(",")]
    assert {*KEY, *FIGURES, *LOWER_IS_BETTER} <= KINDS.keys()


@given(rows=st.lists(any_row, max_size=5, unique_by=lambda each: each.key))
def test_reading_gives_back_what_was_written(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "results.csv"
    write_results(path, rows)
    assert read_results(path) == sorted(rows, key=lambda each: each.key)


def test_order_of_the_rows_does_not_matter(tmp_path):
    rows = [row(trial="b"), row(trial="a", seed=10), row(trial="a", seed=9), row(augmentation="backmix")]
    files = set()
    for number, order in enumerate(itertools.permutations(rows)):
        write_results(tmp_path / f"{number}.csv", order)
        files.add((tmp_path / f"{number}.csv").read_bytes())
    assert len(files) == 1
    read = read_results(tmp_path / "0.csv")
    assert [(each.trial, each.augmentation, each.seed) for each in read] == [
        ("a", "backmix", 0),
        ("a", "none", 9),
        ("a", "none", 10),
        ("b", "none", 0),
    ]


def test_what_a_file_looks_like(tmp_path):
    write_results(
        tmp_path / "deep" / "results.csv", [row(auroc=0.1 + 0.2, fpr95=math.nan, seconds=None, variant="a,b")]
    )
    head, line, end = (tmp_path / "deep" / "results.csv").read_text().split("\n")
    assert head == ",".join(KINDS) and end == ""
    assert line.startswith('cifar10,cssr,a,f-a,unknown,softmax,none,"a,b",0,cpu,method,0.9,0.30000000000000004,0.7,')
    assert ",0.75,,0.78," in line and line.endswith(",bf16,cpu: some model,2,,0.1.0+0123456789")


def test_no_rows_are_a_file_with_a_head(tmp_path):
    write_results(tmp_path / "results.csv", [])
    assert read_results(tmp_path / "results.csv") == []


def test_numbers_of_numpy_are_numbers(tmp_path):
    write_results(tmp_path / "results.csv", [row(auroc=np.float64(0.25), seed=np.int64(3))])
    assert read_results(tmp_path / "results.csv") == [row(auroc=0.25, seed=3)]


def test_other_order_of_columns_empty_lines_and_a_byte_order_mark(tmp_path):
    names = list(reversed(PLAIN))
    path = write(tmp_path / "results.csv", [names, [str(PLAIN[name]) for name in names], []])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_results(path) == [row()]


def test_rows_from_json():
    assert row_from(PLAIN | {"auroc": None, "oscr": 1}, "here") == row(auroc=None, oscr=1.0)
    with pytest.raises(DataError, match=r"here: seed is 0.5; expected a whole number"):
        row_from(PLAIN | {"seed": 0.5}, "here")
    for wrong in ({"seed": True}, {"auroc": [1]}, {"auroc": False}, {"model": 3}, {"model": None}, {"epochs": None}):
        with pytest.raises(DataError, match=f"here: {next(iter(wrong))} is .*; expected"):
            row_from(PLAIN | wrong, "here")
    with pytest.raises(DataError, match=r"here: column auroc is missing; expected protocol, split_list"):
        row_from({name: value for name, value in PLAIN.items() if name != "auroc"}, "here")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"auroc": "85.3"}, r"line 3: auroc is 85.3; expected 0..1"),
        ({"auroc": "high"}, r"line 3: auroc is 'high'; expected a number, or nothing"),
        ({"auroc": "-0.1"}, r"line 3: auroc is -0.1; expected 0..1"),
        ({"seconds": "inf"}, r"line 3: seconds is inf; expected a number, 0 or more"),
        ({"epochs": "29.0"}, r"line 3: epochs is '29.0'; expected a whole number"),
        ({"epochs": ""}, r"line 3: epochs is ''; expected a whole number"),
        ({"threads": "-1"}, r"line 3: threads is -1; expected a number, 0 or more"),
        ({"model": "a\nb"}, r"line 4: model is 'a\\nb'; expected a text without line breaks"),
    ],
)
def test_a_bad_cell_is_named_with_its_line(tmp_path, change, message):
    path = write(tmp_path / "results.csv", [list(PLAIN), cells(seed=1), cells(**change)])
    with pytest.raises(DataError, match=r"results.csv, " + message):
        read_results(path)


def test_a_bad_table_is_named_with_its_line(tmp_path):
    path = tmp_path / "results.csv"
    with pytest.raises(DataError, match=r"there is no .*results.csv"):
        read_results(path)
    with pytest.raises(DataError, match=r"cannot be read"):
        read_results(tmp_path)
    path.write_text("")
    with pytest.raises(DataError, match=r"line 1: column protocol, split_list.* is missing"):
        read_results(path)
    names = list(PLAIN)
    write(path, [[name for name in names if name not in ("oscr", "seed")]])
    with pytest.raises(DataError, match=r"line 1: column seed, oscr is missing; expected protocol"):
        read_results(path)
    for other in ("colour", "auroc"):
        write(path, [[*names, other]])
        with pytest.raises(DataError, match=rf"line 1: column '{other}' is not known or there twice"):
            read_results(path)
    write(path, [names, cells()[:-1]])
    with pytest.raises(DataError, match=r"line 2: found 32 cells; expected 33, as in line 1"):
        read_results(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"is no CSV file in UTF-8"):
        read_results(path)
    path.write_text(",".join(names) + '\n"cifar')
    with pytest.raises(DataError, match=r"is no CSV file"):
        read_results(path)


def test_the_same_result_twice_is_refused(tmp_path):
    path = write(tmp_path / "results.csv", [list(PLAIN), cells(), cells(seed=1), cells(auroc=0.1)])
    with pytest.raises(
        DataError, match=r"line 4: the same result as in line 2: protocol cifar10, .*seed 0.*delete one"
    ):
        read_results(path)
    path.unlink()
    with pytest.raises(DataError, match=r"two results for protocol cifar10, .*detector method; expected one"):
        write_results(path, [row(), row(seed=1), row(auroc=0.1)])
    assert not path.exists()


def test_nan_is_no_figure():
    assert row(auroc=math.nan).auroc is None
    assert dataclasses.replace(row(), auroc=0.5).auroc == 0.5
