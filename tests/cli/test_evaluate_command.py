"""`backmix evaluate`: other classes are unknown, and figures that cannot be are null."""

import json
import shutil

import pytest
from command_folders import colour

from backmix.cli.evaluate_command import evaluate_command
from backmix.detectors import METHOD, OURS, WRAPPED

FIGURES = {"auroc", "oscr", "fpr95", "aupr_in", "aupr_out", "detection_accuracy"}


def test_evaluate_counts_other_classes_as_unknown(trained, pictures, tmp_path, capsys):
    file = tmp_path / "deep" / "result.json"
    result = evaluate_command(trained, str(pictures), json_file=file)
    written = json.loads(file.read_text())
    assert written == json.loads(json.dumps(result))
    assert written["images"] == {"known": 18, "unknown": 6, "unreadable": 0}
    assert written["accuracy"] == 1.0 and list(written["detectors"]) == [METHOD, *OURS] and written["left_out"] == {}
    for name in (METHOD, *OURS):
        entry = written["detectors"][name]
        assert entry.keys() >= FIGURES and all(0 <= entry[figure] <= 1 for figure in FIGURES)
    said = capsys.readouterr().out
    assert "18 known images, 6 unknown (grey)" in said and "max_logit*" in said
    assert [row["accept"] for row in written["acceptance"]] == [0.8, 0.9, 0.95, 0.99]
    assert "what a share to accept costs" in said and "strangers refused" in said


def test_evaluate_takes_the_split_and_the_detectors_asked_for(trained, pictures):
    result = evaluate_command(trained, str(pictures), split="train", detectors="energy, msp")
    assert result["images"]["known"] == 120 and set(result["detectors"]) == {"energy", "msp"}


def test_evaluate_with_detectors_of_pytorch_ood(trained, pictures, capsys):
    pytest.importorskip("pytorch_ood")
    result = evaluate_command(trained, str(pictures), detectors="vim,knn,openmax")
    assert list(result["detectors"]) == ["vim", "knn", "openmax"] and result["left_out"] == {}
    assert all(entry["auroc"] > 0.9 for entry in result["detectors"].values())
    assert list(result["cautions"]) == ["vim"]
    assert "vim: 96 training images for" in capsys.readouterr().out.replace("\n", " ")
    result = evaluate_command(trained, str(pictures), detectors="all")
    assert set(result["detectors"]) | set(result["left_out"]) == {METHOD, *OURS, *WRAPPED}
    said = capsys.readouterr().out
    assert "left out: mcd: looks at how dropout" in said and "left out: vim: 96 training images" in said
    assert " knn " in said and "max_logit*" in said
    with pytest.raises(ValueError, match="mcd: looks at how dropout"):
        evaluate_command(trained, str(pictures), detectors="msp,mcd")
    with pytest.raises(ValueError, match="no detector 'kmm'; there are method, msp"):
        evaluate_command(trained, str(pictures), detectors="msp,kmm")


@pytest.mark.parametrize(("kept", "known", "unknown"), [("grey", 0, 12), ("red", 12, 0)])
def test_data_of_one_kind_alone_gives_null_and_no_error(trained, tmp_path, capsys, kept, known, unknown):
    value = (128, 128, 128) if kept == "grey" else (200, 40, 40)
    for number in range(12):
        colour(tmp_path / "test" / kept / f"{number}.png", value)
    result = evaluate_command(trained, str(tmp_path), json_file=tmp_path / "result.json")
    assert result["images"] == {"known": known, "unknown": unknown, "unreadable": 0}
    written = json.loads((tmp_path / "result.json").read_text())["detectors"]["msp"]
    assert written["auroc"] is None and written["oscr"] is None
    assert (result["accuracy"] is None) == (known == 0)
    assert ("No image of a known class" in capsys.readouterr().out) == (known == 0)


@pytest.mark.parametrize("content", [None, "", "[]", '{"seconds"'])
def test_evaluate_does_not_need_the_metrics_of_the_training(trained, pictures, tmp_path, content):
    import shutil

    run = shutil.copytree(trained, tmp_path / "run")
    (run / "metrics.json").unlink()
    if content is not None:
        (run / "metrics.json").write_text(content)
    assert evaluate_command(run, str(pictures), detectors="msp")["run"]["seconds"] is None


def test_classes_that_are_spelt_otherwise_are_the_known_ones(trained, pictures, tmp_path, capsys):
    """No image of a known class counts as unknown because a person wrote its folder in another way."""
    shutil.copytree(pictures / "test", tmp_path / "new", ignore=shutil.ignore_patterns("grey"))
    (tmp_path / "new" / "red").rename(tmp_path / "new" / " RED_")
    result = evaluate_command(trained, str(tmp_path / "new"), detectors="msp")
    assert result["images"]["known"] == 18 and result["images"]["unknown"] == 0 and result["accuracy"] == 1.0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("spelt otherwise than the known classes, and taken for them: ' RED_' as 'red'") == 1
    assert "18 known images, 0 unknown" in said
