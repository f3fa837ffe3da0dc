"""Part (a): what a rising prior does, told from the lowest to the strongest."""

from study_cells import made_parts, made_study


def test_the_plain_training_is_told_at_both_ends_of_the_priors():
    part = made_parts(made_study(lambda cell: {"accuracy": 0.9 - cell.prior / 10, "gap": cell.prior}))["a"]
    assert [row[:2] for row in part.tables[0].rows[::4]] == [[f"{prior:.2f}", "plain"] for prior in (0.25, 0.8, 0.95)]
    assert part.findings[0] == (
        "Trained plainly, accuracy where backgrounds say nothing of the class goes from 75.0 ± 0.0 at the prior 0.25, "
        "where background and class are independent, to 33.0 ± 0.0 at 0.95."
    )
    assert part.findings[-1].startswith("AUROC at the prior 0.95: not the same in every seed: patch (+0.0 ± 0.0); swap")
