"""Figures of a study are read off its cells, seed by seed."""

import pytest
from study_cells import made_study

from backmix.study.results import Results, accuracy, auroc


def test_differences_are_paired_by_seed():
    study = made_study(lambda cell: {"auroc": 0.5 + 0.1 * cell.seed + (0.01 if cell.training == "patch" else 0)})
    study["cells"] = [c for c in study["cells"] if (c["training"], c["seed"]) != ("patch", 1)]
    found = Results(study).differences("patch", 0.8, auroc("Kk-Qk"))
    assert found == pytest.approx([0.01, 0.01])
    assert Results(study).values("plain", 0.8, accuracy) == [0.9] * 3
