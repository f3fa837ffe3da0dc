"""The picture of differences: it is written, holds what it should, and refuses what does not belong in one."""

import pytest
from benchmark_rows import row, rows_of
from PIL import Image

from backmix.benchmark.plot import plot_differences
from backmix.errors import DataError

BEFORE = {"a": [0.80], "b": [0.82], "c": [0.84]}
AFTER = {"a": [0.82], "b": [0.83], "c": [0.81]}
ROWS = rows_of("auroc", {"none": BEFORE, "backmix": AFTER})


def svg(path, rows, **options):
    """The picture as text: matplotlib puts every text of an SVG in a comment before its outlines."""
    plot_differences(rows, path, **options)
    return path.read_text()


def test_png_is_a_picture_with_something_on_it(tmp_path):
    plot_differences(ROWS, tmp_path / "deep" / "plot.png")
    with Image.open(tmp_path / "deep" / "plot.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000 and picture.height > 250
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    assert {(0x00, 0x72, 0xB2), (0, 0, 0), (255, 255, 255)} <= colours
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["plot.png"]


def test_texts_say_what_is_shown(tmp_path):
    text = svg(tmp_path / "plot.svg", ROWS)
    for said in ("AUROC", "OSCR", "difference", "points", "softmax", "backmix", "none", "mean, 95% interval"):
        assert f"<!-- {said} -->" in text
    assert "a pair of dots for each trial" in text and "cifar10, split list cssr, recipe cpu, score method" in text
    text = svg(tmp_path / "plot.svg", ROWS, figures=("fpr95",))
    assert "<!-- FPR95 -->" in text and "difference, lower is better" in text and "AUROC" not in text
    seeds = rows_of("auroc", {"none": {"a": [0.5, 0.6]}, "backmix": {"a": [0.7, 0.6]}})
    assert "a pair of dots for each seed" in svg(tmp_path / "plot.svg", seeds)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for kind in ("png", "svg", "pdf"):
        plot_differences(ROWS, tmp_path / f"one.{kind}")
        plot_differences(ROWS[::-1], tmp_path / f"other.{kind}")
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"other.{kind}").read_bytes()


def test_one_trial_many_methods_long_and_odd_names(tmp_path):
    text = svg(tmp_path / "plot.svg", [row(), row(augmentation="backmix")])
    assert "<!-- mean -->" in text and "interval" not in text
    rows = [
        each
        for method in ("softmax", "outlier-exposure")
        for each in rows_of(
            "auroc",
            {
                "none": BEFORE,
                **{f"mix{n}$ patch_side=0.{n},foreground=saliency,$num_patches=2": AFTER for n in range(9)},
            },
            method=method,
        )
    ]
    text = svg(tmp_path / "plot.svg", rows)
    assert text.count("<!-- softmax -->") == 1 and "<!-- mix8$ (patch_side=0.8, -->" in text
    assert "foreground=saliency," in text


def test_pairs_that_are_none_are_not_drawn(tmp_path):
    lonely = [row(trial="d"), row(trial="d", augmentation="backmix", epochs=30), row(trial="e", augmentation="backmix")]
    assert svg(tmp_path / "plot.svg", ROWS + lonely) == svg(tmp_path / "other.svg", ROWS)
    with pytest.raises(
        DataError, match=r"no two results can be compared. backmix not paired with none: trial d.*epochs"
    ):
        plot_differences(lonely[:2], tmp_path / "none.svg")
    with pytest.raises(DataError, match=r"no two results can be compared\.$"):
        plot_differences([row()], tmp_path / "none.svg")
    # A figure that one setting lacks leaves an empty place.
    missing = rows_of("auroc", {"cutmix": AFTER}, oscr=None)
    assert "cutmix" in svg(tmp_path / "plot.svg", ROWS + missing)
    assert not (tmp_path / "none.svg").exists()


def test_rows_that_do_not_belong_in_one_picture_are_refused(tmp_path):
    path = tmp_path / "plot.png"
    changes = [{"protocol": "svhn"}, {"split_list": "neal", "fingerprint": "x"}, {"unknown_set": "cifar100"}]
    for change in [*changes, {"recipe": "paper"}, {"detector": "msp"}]:
        with pytest.raises(DataError, match=f"rows have {next(iter(change))} .*; expected one"):
            plot_differences([*ROWS, row(**change)], path)
    with pytest.raises(DataError, match="no results to draw"):
        plot_differences([], path)
    with pytest.raises(DataError, match="no figure to draw"):
        plot_differences(ROWS, path, figures=())
    with pytest.raises(DataError, match="no figure 'beauty'"):
        plot_differences(ROWS, path, figures=("beauty",))
    with pytest.raises(DataError, match=r"ends in '.txt'; expected one of .png, .svg, .pdf"):
        plot_differences(ROWS, tmp_path / "plot.txt")
    assert list(tmp_path.iterdir()) == []
