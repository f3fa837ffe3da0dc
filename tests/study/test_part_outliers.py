"""Part (b): sentences that hold in every seed."""

from study_cells import made_parts, made_study


def test_a_gain_in_every_seed_is_a_gain_and_in_some_is_none():
    def how(cell):
        if cell.training == "swap":
            return {"auroc": 0.8 + cell.seed / 100}
        if cell.training == "patch":
            return {"auroc": 0.6}
        return {"auroc": 0.7 + 0.01 * (cell.seed - 1)} if cell.training == "swap, true masks" else {}

    part = made_parts(made_study(how))["b"]
    higher, lower, neither = ([s for s in part.findings if word in s] for word in ("higher", "lower", "not the same"))
    assert "swap (+11.0 ± 1.0)" in higher[0] and "patch (−10.0 ± 0.0)" in lower[0]
    assert "swap, true masks (+0.0 ± 1.0)" in neither[0] and "swap, true masks" not in higher[0]
    rows = {row[0]: row for row in part.tables[0].rows}
    assert rows["patch"][-1] == "worse in all 3" and rows["swap"][-1] == "better in all 3"
    assert rows["plain"][-2:] == ["", ""]
