"""What is said of the cells: tables from them, and sentences that hold in every seed."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_cells import made_study

from backmix.study.summary import (
    Results,
    Table,
    accuracy,
    auroc,
    gap_told,
    share,
    spread,
    summarise,
    to_markdown,
    told,
    trust,
    verdict,
)


def as_text(part):
    return " ".join([*part.findings, *(cell for table in part.tables for row in table.rows for cell in row)])


def by_key(study):
    return {part.key: part for part in summarise(study)}


def test_every_part_has_its_trainings():
    parts = by_key(made_study())
    assert list(parts) == list("abcd")
    assert len(parts["a"].tables[0].rows) == 3 * 4
    assert [row[0] for row in parts["b"].tables[0].rows][:2] == ["plain", "patch"]
    assert len(parts["b"].tables[0].rows) == 10 and len(parts["d"].tables[0].rows) == 6
    assert len(parts["c"].tables[0].rows) == 6
    for part in parts.values():
        for table in part.tables:
            assert all(len(row) == len(table.head) for row in table.rows)


def test_a_gain_in_every_seed_is_a_gain_and_in_some_is_none():
    def how(cell):
        if cell.training == "swap":
            return {"auroc": 0.8 + cell.seed / 100}
        if cell.training == "patch":
            return {"auroc": 0.6}
        return {"auroc": 0.7 + 0.01 * (cell.seed - 1)} if cell.training == "swap, true masks" else {}

    part = by_key(made_study(how))["b"]
    higher, lower, neither = ([s for s in part.findings if word in s] for word in ("higher", "lower", "not the same"))
    assert "swap (+11.0 ± 1.0)" in higher[0] and "patch (−10.0 ± 0.0)" in lower[0]
    assert "swap, true masks (+0.0 ± 1.0)" in neither[0] and "swap, true masks" not in higher[0]
    rows = {row[0]: row for row in part.tables[0].rows}
    assert rows["patch"][-1] == "worse in all 3" and rows["swap"][-1] == "better in all 3"
    assert rows["plain"][-2:] == ["", ""]


def test_predictions_are_kept_or_missed():
    def how(cell):
        if cell.training == "patch":
            return {"entropy": 0.6, "gap": 0.2, "outside": 1.5}
        return {"outside": 1.0 + 0.1 * (cell.seed - 1)} if cell.training == "swap" else {}

    rows = {row[0]: row[2:] for row in by_key(made_study(how))["c"].tables[0].rows}
    assert rows["(i) entropy on pure backgrounds rises"][0] == "60.0 ± 0.0, as predicted"
    assert rows["(ii) the background gap shrinks"][0].endswith("as predicted")
    assert rows["(iii) logits differ less beside the object"][0] == "1.5 ± 0.0, the other way"
    assert rows["(iii) logits differ less beside the object"][1].endswith("not the same in every seed")
    findings = by_key(made_study(how))["c"].findings
    assert findings[0] == "Patch: 4 of 6 figures move as predicted, in every seed."


def test_gaps_with_the_widest_of_the_intervals_and_how_far_masks_can_be_trusted():
    def how(cell):
        return {"gap": 0.1 if "true" in cell.training else 0.5, "estimated": 0.15 if "true" in cell.training else 0.45}

    study = made_study(how)
    results = Results(study)
    assert gap_told(results, "plain", "audit") == "50.0 (45.0 to 55.0)"
    assert gap_told(results, "plain", "audit_estimated") == "45.0 (35.0 to 55.0)"
    part = by_key(study)["d"]
    assert "Gaps from estimated masks are 5.0 ± 0.0 points from those of true masks, at most 5.0." in part.findings[-1]
    # Two trainings have gaps of 10 points and four of 50, with intervals 10 points wide.
    assert "They order 8 of 8 pairs of trainings alike" in part.findings[-1]
    assert any("Swap, true masks: the gap changes by −40.0 ± 0.0 points, better in all 3" in s for s in part.findings)
    differ = Results(made_study(lambda cell: {"gap": 0.1 if "true" in cell.training else 0.5, "estimated": 0.3}))
    assert "They order 0 of 1 pairs" in trust(differ, ["plain", "swap, true masks"])
    alike = Results(made_study(lambda cell: {"gap": 0.1, "estimated": 0.3}))
    assert "order" not in trust(alike, ["plain", "swap, true masks"])


def test_cells_that_are_missing_or_left_out():
    study = made_study()
    study["cells"] = [cell for cell in study["cells"] if cell["training"] in ("plain", "patch")]
    study["cells"].append({"training": "swap", "prior": 0.95, "seed": 0, "left_out": True})
    parts = by_key(study)
    assert [row[0] for row in parts["d"].tables[0].rows] == ["plain", "patch"]
    study["cells"] = []
    assert summarise(study) == []


def test_photographs_as_they_are_have_no_rising_priors():
    study = made_study(priors=[])
    parts = by_key(study)
    assert list(parts) == ["b", "c", "d"] and "as photographed" in parts["d"].tables[0].title


def test_differences_are_paired_by_seed():
    study = made_study(lambda cell: {"auroc": 0.5 + 0.1 * cell.seed + (0.01 if cell.training == "patch" else 0)})
    study["cells"] = [c for c in study["cells"] if (c["training"], c["seed"]) != ("patch", 1)]
    found = Results(study).differences("patch", 0.8, auroc("Kk-Qk"))
    assert found == pytest.approx([0.01, 0.01])
    assert Results(study).values("plain", 0.8, accuracy) == [0.9] * 3


@pytest.mark.parametrize(
    "differences, said",
    [
        ([], "not measured"),
        ([0.1], "better"),
        ([-0.1], "worse"),
        ([0.1, 0.2], "better in both"),
        ([-0.1, -0.2], "worse in both"),
        ([-0.1, 0.2], "better in 1 of 2"),
        ([0.0, -0.2], "better in 0 of 2"),
        ([0.0, 0.0], "no change"),
    ],
)
def test_verdicts(differences, said):
    assert verdict(differences) == said
    turned = said.replace("better", "x").replace("worse", "better").replace("x", "worse")
    if "of" not in said:
        assert verdict([-value for value in differences]) == turned
        assert verdict(differences, higher_is_better=False) == turned


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6))
def test_mean_and_deviation(values):
    mean, _, deviation = spread(values, digits=3).replace("−", "-").partition(" ± ")
    assert float(mean) == pytest.approx(statistics.fmean(values), abs=6e-4)
    assert float(deviation) == pytest.approx(statistics.stdev(values), abs=6e-4)


def test_numbers_as_text():
    assert share([0.5]) == "50.0" and share([]) == "–" and share([-0.123], sign=True) == "−12.3"
    assert share([-0.0001]) == "0.0" and share([0.0], sign=True) == "+0.0"
    assert told(None) == "as photographed" and told(1 / 6) == "0.17"


def test_a_table_as_markdown():
    text = to_markdown(Table("Title", ["a", "b"], [["1", "2"], ["3", "4"]], "A note."))
    assert text == "Title:\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n\nA note."
