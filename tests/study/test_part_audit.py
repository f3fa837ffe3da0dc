"""Part (d): gaps with their intervals, and what estimated masks are worth."""

from study_cells import made_parts, made_study

from backmix.study.part_audit import gap_told, trust
from backmix.study.results import Results


def test_gaps_with_the_widest_of_the_intervals_and_how_far_masks_can_be_trusted():
    def how(cell):
        return {"gap": 0.1 if "true" in cell.training else 0.5, "estimated": 0.15 if "true" in cell.training else 0.45}

    study = made_study(how)
    results = Results(study)
    assert gap_told(results, "plain", "audit") == "50.0 (45.0 to 55.0)"
    assert gap_told(results, "plain", "audit_estimated") == "45.0 (35.0 to 55.0)"
    part = made_parts(study)["d"]
    assert "Gaps from estimated masks are 5.0 ± 0.0 points from those of true masks, at most 5.0." in part.findings[-1]
    # Two trainings have gaps of 10 points and four of 50, with intervals 10 points wide.
    assert "They order 8 of 8 pairs of trainings alike" in part.findings[-1]
    assert any("Swap, true masks: the gap changes by −40.0 ± 0.0 points, better in all 3" in s for s in part.findings)
    differ = Results(made_study(lambda cell: {"gap": 0.1 if "true" in cell.training else 0.5, "estimated": 0.3}))
    assert "They order 0 of 1 pairs" in trust(differ, ["plain", "swap, true masks"])
    alike = Results(made_study(lambda cell: {"gap": 0.1, "estimated": 0.3}))
    assert "order" not in trust(alike, ["plain", "swap, true masks"])
