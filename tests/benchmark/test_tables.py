"""Tables: losses look like gains, published figures say what they are, names are shown as they are."""

import csv
import io

import pytest
from benchmark_rows import row, rows_of
from rich.console import Console

from backmix.benchmark.results import FIGURES
from backmix.benchmark.sheet import Sheet, escape, to_markdown, to_rich
from backmix.benchmark.summary import Mean
from backmix.benchmark.tables import LABELS, make_lines, percent, summary_csv, summary_sheets, trial_sheets
from backmix.errors import DataError

BEFORE = {"a": [0.80], "b": [0.82], "c": [0.84], "d": [0.86], "e": [0.88]}
AFTER = {"a": [0.82], "b": [0.83], "c": [0.87], "d": [0.85], "e": [0.88]}
WORSE = {"a": [0.79], "b": [0.81], "c": [0.83], "d": [0.85], "e": [0.87]}
ROWS = rows_of("auroc", {"none": BEFORE, "backmix": AFTER, "cutmix": WORSE})


def by_head(sheet):
    return [dict(zip(sheet.head, line, strict=True)) for line in sheet.lines]


def printed(sheet, width):
    file = io.StringIO()
    # A console that would take what looks like markup for it.
    Console(file=file, width=width, color_system=None).print(to_rich(sheet))
    return file.getvalue()


def test_means_and_published_figures():
    means, _ = summary_sheets(make_lines(ROWS))
    assert means.title == "cifar10, split list cssr, recipe cpu, score method; percent"
    none, backmix, cutmix = by_head(means)
    assert (none["method"], none["augmentation"], none["n"]) == ("softmax", "none", "5 x 1")
    assert none["AUROC"] == "84.0 ± 3.2" and none["OSCR"] == "70.0 ± 0.0" and none["closed accuracy"] == "90.0 ± 0.0"
    assert none["AUROC, published"] == "67.7 verified (1); 93.6 second-hand (2)"
    assert backmix["AUROC"] == "85.0 ± 2.5" and backmix["AUROC, published"] == "91.3 verified (3)"
    assert cutmix["AUROC, published"] == "" and "OSCR, published" not in means.head
    notes = "\n".join(means.notes)
    assert "(1) Plain*: BackMix project page, table 1; verified, split list not known." in notes
    assert "(3) Plain*+BackMix: " in notes and "are quoted" in notes and "Which split list BackMix used" in notes
    assert "recalled" not in notes.lower()


def test_losses_are_printed_like_gains():
    differences = summary_sheets(make_lines(ROWS, compared=("auroc", "oscr")))[1]
    assert differences.title.endswith("score method; difference in points")
    names = ("augmentation", "figure", "difference to none", "95% interval", "better / worse / equal", "p")
    assert [tuple(line[name] for name in names) for line in by_head(differences)] == [
        ("backmix", "AUROC", "+1.0 ± 1.6", "-1.0 to +3.0", "3 / 1 / 1", "0.625"),
        ("backmix", "OSCR", "+0.0 ± 0.0", "+0.0 to +0.0", "0 / 0 / 5", "1"),
        ("cutmix", "AUROC", "-1.0 ± 0.0", "-1.0 to -1.0", "0 / 5 / 0", "0.0625"),
        ("cutmix", "OSCR", "+0.0 ± 0.0", "+0.0 to +0.0", "0 / 0 / 5", "1"),
    ]


def test_recalled_figures_are_marked():
    (means,) = summary_sheets(make_lines([row(method="arpl", split_list="arpl")]))
    (line,) = by_head(means)
    assert line["AUROC, published"] == "89.8 verified (1); 90.1 recalled (2)"
    assert line["OSCR, published"] == "86.6 recalled (3)"
    notes = "\n".join(means.notes)
    assert "(3) ARPL: ARPL journal paper, OSCR table; recalled.\n" in notes and "never a pass mark" in notes


def test_without_published_figures_there_is_no_column_for_them():
    means, _ = summary_sheets(make_lines(rows_of("auroc", {"none": BEFORE, "backmix": AFTER}, protocol="digits")))
    assert means.head == ("method", "augmentation", "n", "closed accuracy", "AUROC", "OSCR") and len(means.notes) == 1


def test_protocols_lists_sets_and_recipes_have_tables_of_their_own():
    changes = [{}, {"protocol": "svhn"}, {"split_list": "neal"}, {"unknown_set": "cifar100"}, {"recipe": "paper"}]
    rows = [row(augmentation=name, **change) for change in changes for name in ("none", "backmix")]
    sheets = summary_sheets(make_lines(rows))
    assert len(sheets) == 10 and len({sheet.title for sheet in sheets}) == 10
    assert all(len(sheet.lines) == 2 - number % 2 for number, sheet in enumerate(sheets))
    assert "cifar10, split list cssr, unknown cifar100, recipe cpu, score method; percent" in [s.title for s in sheets]
    assert len(trial_sheets(rows)) == 5


def test_several_scores_have_a_column():
    rows = [row(detector=detector, augmentation=name) for detector in ("method", "msp") for name in ("none", "backmix")]
    means, differences = summary_sheets(make_lines(rows))
    assert "score" not in means.title and [line["score"] for line in by_head(means)] == ["method"] * 2 + ["msp"] * 2
    assert [line["score"] for line in by_head(differences)] == ["method", "msp"]


def test_seeds_are_counted_and_said():
    rows = rows_of("auroc", {"none": {"a": [0.5, 0.6], "b": [0.7]}, "backmix": {"a": [0.5, 0.7]}})
    means, _ = summary_sheets(make_lines(rows))
    assert [line["n"] for line in by_head(means)] == ["2 x 1-2", "1 x 2"]
    assert any(note == "softmax, backmix, score method: one trial, so ± is over its seeds." for note in means.notes)
    means, _ = summary_sheets(make_lines([each for each in rows if each.trial == "a"]))
    assert means.notes[0].endswith("over the seeds of one trial.")
    (means,) = summary_sheets(make_lines([row()]))
    assert by_head(means)[0]["AUROC"] == "80.0" and by_head(means)[0]["n"] == "1 x 1"


def test_what_was_not_paired_or_is_missing_is_said():
    rows = [row(trial="a"), row(trial="b", version="2", auroc=None), row(augmentation="backmix", trial="b")]
    means, differences = summary_sheets(make_lines(rows))
    assert by_head(differences)[0]["difference to none"] == by_head(differences)[0]["p"] == "-"
    said = "not paired with none: trial b seed 0: version is 0.1.0+0123456789, there 2."
    assert f"softmax, backmix, score method: {said}" in differences.notes
    assert any("auroc is the mean of 1 of 2 results" in note for note in means.notes)
    assert any("version is not the same" in note for note in means.notes)
    (means,) = summary_sheets(make_lines([row(auroc=None)]))
    assert by_head(means)[0]["AUROC"] == "-"


def test_lower_is_better_is_said():
    for sheet in summary_sheets(make_lines(ROWS, figures=("fpr95",), compared=("fpr95",))):
        assert "FPR95: lower is better." in sheet.notes


def test_ablations_are_compared_to_the_defaults():
    rows = rows_of(
        "auroc", {"none": BEFORE, "backmix": AFTER, "backmix patch_side=0.5": WORSE, "swap patches=2": AFTER}
    )
    _, differences = summary_sheets(make_lines(rows, augmentation=None))
    assert "difference to the same without the variant" in differences.head
    assert [line["augmentation"] for line in by_head(differences)] == ["backmix (patch_side=0.5)", "swap (patches=2)"]
    _, differences = summary_sheets(make_lines(rows, augmentation="backmix"))
    assert "difference to backmix" in differences.head


def test_trials():
    (sheet,) = trial_sheets(ROWS)
    assert sheet.title == "AUROC, softmax, score method: cifar10, split list cssr, recipe cpu; percent"
    assert sheet.head == ("trial", "none", "backmix", "cutmix")
    assert sheet.lines[0] == ("a", "80.0", "82.0", "79.0") and sheet.lines[4] == ("e", "88.0", "88.0", "87.0")
    assert sheet.lines[5] == ("mean ± sd", "84.0 ± 3.2", "85.0 ± 2.5", "83.0 ± 3.2")
    (sheet,) = trial_sheets(rows_of("auroc", {"none": {"a": [0.5, 0.6], "b": [0.7]}, "backmix": {"a": [0.5, 0.7]}}))
    assert sheet.lines == (("a", "55.0", "60.0"), ("b", "70.0", "-"), ("mean ± sd", "62.5 ± 10.6", "60.0"))
    (sheet,) = trial_sheets(rows_of("oscr", {"none": {"a": [0.1] * 11}}), "oscr")
    assert sheet.head == ("seed", "none") and [line[0] for line in sheet.lines][:11] == [str(n) for n in range(11)]
    (sheet,) = trial_sheets([row(auroc=None)])
    assert sheet.lines == (("0", "-"), ("mean ± sd", "-"))
    with pytest.raises(DataError, match="no figure"):
        trial_sheets(ROWS, "beauty")


def test_markdown_shows_names_as_they_are():
    sheet = Sheet("a | b", ("n|ame", "x"), (("p|q\n*r*", "1.0"), ("_a_b_", "<i>&")), frozenset({0}), ("note `1` [2]",))
    assert to_markdown(sheet).split("\n") == [
        r"**a \| b**",
        "",
        r"| n\|ame | x |",
        "| --- | ---: |",
        r"| p\|q \*r\* | 1.0 |",
        r"| \_a_b\_ | &lt;i>&amp; |",
        "",
        r"- note \`1\` \[2\]",
        "",
    ]
    assert escape("max_logit, a\\b") == "max_logit, a\\\\b"
    rows = rows_of("auroc", {"none": BEFORE, "a|b side=[1|2]": AFTER})
    for sheet in [*summary_sheets(make_lines(rows)), *trial_sheets(rows)]:
        lines = [line for line in to_markdown(sheet).split("\n") if line.startswith("|")]
        cells = [line.replace(r"\|", "").count("|") for line in lines]
        assert len(lines) >= 3 and set(cells) == {len(sheet.head) + 1}


def test_terminal_shows_names_as_they_are_and_numbers_in_one_piece():
    rows = rows_of("auroc", {"none": BEFORE, "[bold]x[/bold] patch_side=0.5,fill=noise": AFTER})
    for sheet in summary_sheets(make_lines(rows)):
        wide = printed(sheet, 200)
        assert "[bold]x[/bold] (patch_side=0.5,fill=noise)" in wide
        narrow = printed(sheet, 80)
        assert max(map(len, narrow.split("\n"))) <= 80
        for line in sheet.lines:
            numbers = [cell for column, cell in enumerate(line) if column not in sheet.left]
            assert all(cell in wide and cell in narrow for cell in numbers)
        assert all(note in wide.replace("\n", " ").replace("  ", " ") for note in sheet.notes if len(note) < 150)


def test_csv_holds_every_number_unrounded():
    lines = make_lines(ROWS, compared=("auroc", "oscr"))
    none, backmix, cutmix = csv.DictReader(io.StringIO(summary_csv(lines)))
    assert none["augmentation"] == "none" and none["auroc_difference"] == "" and none["auroc_difference_p"] == ""
    assert float(none["auroc"]) == pytest.approx(0.84) and none["auroc_over"] == "trials" and none["trials"] == "5"
    difference = lines[1].differences["auroc"]
    assert float(backmix["auroc_difference"]) == difference.mean.value
    assert float(backmix["auroc_difference_sd"]) == difference.mean.sd
    assert float(backmix["auroc_difference_low"]) == difference.interval[0]
    assert float(backmix["auroc_difference_high"]) == difference.interval[1]
    assert float(backmix["auroc_difference_p"]) == difference.p
    counts = [backmix[f"auroc_difference_{name}"] for name in ("better", "worse", "equal", "pairs", "n")]
    assert counts == ["3", "1", "1", "5", "5"] and backmix["auroc_difference_to"] == "none"
    assert backmix["auroc_published"].startswith("0.913 Plain*+BackMix: BackMix project page")
    assert float(cutmix["auroc_difference"]) == pytest.approx(-0.01) and cutmix["oscr_difference_worse"] == "0"
    assert summary_csv([]) == "\n"


def test_percent():
    assert percent(None) == "-" and percent(Mean(-0.0, None, 1, "trials"), "+") == "+0.0"
    assert percent(Mean(0.12345, 0.0067, 3, "trials")) == "12.3 ± 0.7"
    assert percent(Mean(-0.012, None, 1, "trials"), "+") == "-1.2"
    assert LABELS.keys() == set(FIGURES)
