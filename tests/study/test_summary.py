"""Which parts the page of a study has, and what is in each."""

from study_cells import made_parts, made_study

from backmix.study.summary import summarise


def test_every_part_has_its_trainings():
    parts = made_parts(made_study())
    assert list(parts) == list("abcd")
    assert len(parts["a"].tables[0].rows) == 3 * 4
    assert [row[0] for row in parts["b"].tables[0].rows][:2] == ["plain", "patch"]
    assert len(parts["b"].tables[0].rows) == 10 and len(parts["d"].tables[0].rows) == 6
    assert len(parts["c"].tables[0].rows) == 6
    for part in parts.values():
        for table in part.tables:
            assert all(len(row) == len(table.head) for row in table.rows)


def test_cells_that_are_missing_or_left_out():
    study = made_study()
    study["cells"] = [cell for cell in study["cells"] if cell["training"] in ("plain", "patch")]
    study["cells"].append({"training": "swap", "prior": 0.95, "seed": 0, "left_out": True})
    parts = made_parts(study)
    assert [row[0] for row in parts["d"].tables[0].rows] == ["plain", "patch"]
    study["cells"] = []
    assert summarise(study) == []


def test_photographs_as_they_are_have_no_rising_priors():
    study = made_study(priors=[])
    parts = made_parts(study)
    assert list(parts) == ["b", "c", "d"] and "as photographed" in parts["d"].tables[0].title
