"""Part (c): predictions are kept, missed, or neither."""

from study_cells import made_parts, made_study


def test_predictions_are_kept_or_missed():
    def how(cell):
        if cell.training == "patch":
            return {"entropy": 0.6, "gap": 0.2, "outside": 1.5}
        return {"outside": 1.0 + 0.1 * (cell.seed - 1)} if cell.training == "swap" else {}

    rows = {row[0]: row[2:] for row in made_parts(made_study(how))["c"].tables[0].rows}
    assert rows["(i) entropy on pure backgrounds rises"][0] == "60.0 ± 0.0, as predicted"
    assert rows["(ii) the background gap shrinks"][0].endswith("as predicted")
    assert rows["(iii) logits differ less beside the object"][0] == "1.5 ± 0.0, the other way"
    assert rows["(iii) logits differ less beside the object"][1].endswith("not the same in every seed")
    findings = made_parts(made_study(how))["c"].findings
    assert findings[0] == "Patch: 4 of 6 figures move as predicted, in every seed."
