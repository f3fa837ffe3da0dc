"""`backmix tables`: from results files to the screen and to files."""

import dataclasses

import pytest
from benchmark_rows import row as make_row

from backmix.benchmark.results import write_results
from backmix.cli import app
from backmix.cli.tables_command import tables_command
from backmix.errors import DataError


def results(folder, *rows):
    folder.mkdir(exist_ok=True)
    write_results(folder / "results.csv", rows)
    return folder


@pytest.fixture
def rows():
    shared = {"protocol": "cifar10", "split_list": "cssr", "recipe": "cpu", "method": "softmax", "seed": 0}
    return [
        make_row(
            **shared, trial=trial, fingerprint=trial, augmentation=mix, variant=variant, detector=detector, auroc=auroc
        )
        for detector in ("method", "msp")
        for trial, base in (("a", 0.7), ("b", 0.8))
        for mix, variant, auroc in (
            ("none", "", base),
            ("backmix", "", base + 0.05),
            ("backmix", "patch_side=0.5", base),
        )
    ]


def test_means_and_differences_on_the_screen_and_in_files(rows, tmp_path, capsys):
    written = tables_command([results(tmp_path / "bench", *rows)], out=tmp_path / "out")
    shown = capsys.readouterr().out
    assert "75.0 ± 7.1" in shown and "+5.0" in shown and "-5.0" in shown, shown
    assert [path.name for path in written] == ["tables.md", "tables.csv", "differences-1.png"]
    assert all(path.stat().st_size > 100 for path in written)
    assert "| softmax | none |" in (tmp_path / "out" / "tables.md").read_text()


def test_an_ablation_is_compared_with_backmix_itself(rows, tmp_path, capsys):
    tables_command([results(tmp_path / "bench", *rows)])
    assert "difference to backmix" in capsys.readouterr().out


def test_one_detector_is_shown_that_is_there(rows, tmp_path, capsys):
    folder = results(tmp_path / "bench", *rows)
    tables_command([folder / "results.csv"], detector="msp")
    assert "score msp" in capsys.readouterr().out
    with pytest.raises(DataError, match="no result of detector 'vim'; there are method, msp"):
        tables_command([folder], detector="vim")


def test_files_that_cannot_be_shown(rows, tmp_path):
    with pytest.raises(DataError, match="no cell of the benchmark is finished"):
        tables_command([results(tmp_path / "empty")])
    with pytest.raises(DataError, match="there is no"):
        tables_command([tmp_path / "nothing.csv"])
    changed = [dataclasses.replace(row, fingerprint="other", seed=1) for row in rows]
    with pytest.raises(DataError):
        tables_command([results(tmp_path / "one", *rows), results(tmp_path / "two", *changed)])


def test_the_command_line_knows_it():
    assert {"bench", "tables"} <= {command.callback.__name__ for command in app.registered_commands}
