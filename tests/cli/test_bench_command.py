"""`backmix bench`: what it prints, leaves and refuses before anything runs."""

import pytest

from backmix.benchmark.grid_options import GridOptions
from backmix.cli.arguments import BenchArguments
from backmix.cli.bench_command import bench_command, choose_trials, make_cells
from backmix.methods import METHODS

OPTIONS = GridOptions(epochs=1, precision="fp32", detectors=("method",), workers=1)


def test_a_grid_from_nothing_to_its_tables(tmp_path, capsys):
    arguments = BenchArguments(("digits",), trials=("a",), augmentations=("none", "backmix"))
    report = bench_command(arguments, tmp_path, OPTIONS)
    shown = capsys.readouterr().out
    assert len(report.rows) == 2 and not report.failed
    assert "2 cells, 0 of them finished" in shown and "difference in points" in shown
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "results.csv",
        "tables.md",
        "tables.csv",
        "differences-1.png",
    }
    # A second time nothing runs; a dry run says so too.
    bench_command(arguments, tmp_path, OPTIONS)
    assert "2 cells, 2 of them finished" in capsys.readouterr().out
    assert bench_command(arguments, tmp_path, OPTIONS, dry_run=True) is None
    assert "2 cells, 0 to run: about 0 s" in capsys.readouterr().out


def test_what_fails_is_named_with_its_file(tmp_path, capsys):
    report = bench_command(
        BenchArguments(("mnist",), trials=("a",), augmentations=("none",)),
        tmp_path,
        GridOptions(root=tmp_path / "nothing", epochs=1),
    )
    shown = capsys.readouterr().out
    assert len(report.failed) == 1 and not report.rows
    assert "failed: mnist-neal-a_cpu_softmax_none_seed0" in shown and "error.txt" in shown


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"protocols": ("cifar11",)}, "no protocol 'cifar11'"),
        ({"split_list": "cssx"}, "cssx"),
        ({"trials": ("a", "z")}, "no trial 'z'; there are a, b, c, d, e"),
        ({"methods": ("softmx",)}, "no method 'softmx'"),
        ({"methods": ("softmax", "knn")}, "knn has no loss, and recipe .* trains all weights; there are softmax, "),
        ({"augmentations": ("none", "backmx")}, "no augmentation 'backmx'"),
        ({"recipe": "slow"}, "no recipe 'slow'"),
        ({"ablation": "size"}, "no ablation 'size'"),
        ({"augmentations": ("none", "none")}, "twice"),
    ],
)
def test_wrong_names_are_refused_at_once(changed, message, tmp_path):
    arguments = BenchArguments(**{"protocols": ("cifar10",), **changed})
    with pytest.raises(ValueError, match=message):
        bench_command(arguments, tmp_path, OPTIONS)
    assert not (tmp_path / "cells").exists()


def test_all_trials_of_the_list_that_a_protocol_has_by_default():
    trials = choose_trials(BenchArguments(("cifar10", "cifar+10")))
    assert [(t.protocol, t.split_list, t.name) for t in trials[::5]] == [
        ("cifar10", "cssr", "a"),
        ("cifar+10", "neal", "a"),
    ]
    assert len(trials) == 10
    cells = make_cells(BenchArguments(("cifar10", "cifar+10"), ablation="patch-side", seeds=(0, 1)), trials)
    assert len(cells) == 10 * 2 * (2 + 4)


def test_all_methods_are_those_with_a_loss():
    arguments = BenchArguments(("cifar10",), trials=("a",), methods=("all",), augmentations=("none",))
    methods = {cell.method for cell in make_cells(arguments, choose_trials(arguments))}
    assert methods == {name for name, method in METHODS.items() if not method.learns_at_once}
