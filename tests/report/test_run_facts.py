"""What a run says of itself, whatever is missing or broken."""

import json
import shutil

import pytest

from backmix.errors import RunError
from backmix.report.run_facts import read_facts


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def test_a_whole_run(run):
    facts = read_facts(run)
    assert [entry["epoch"] for entry in facts.history] == list(range(6)) and facts.no_metrics is None
    assert facts.arguments["model"] == "compact-s" and facts.training["epochs"] == 6
    assert facts.calibration["accept"] == 0.95 and facts.unreadable == []
    assert "epochs: 6" in facts.recipe


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "has no metrics.json"), ("{", "cannot be read"), ("[]", "was not written by backmix"), ("\xff", "cannot")],
)
def test_metrics_that_cannot_be_read(run, content, said):
    (run / "metrics.json").unlink()
    if content is not None:
        (run / "metrics.json").write_bytes(content.encode("latin-1"))
    facts = read_facts(run)
    assert said in facts.no_metrics and facts.history == [] and facts.unreadable == []


def test_what_is_no_number_is_left_out_of_the_history(run):
    good = {"epoch": 1, "loss": 0.5, "accuracy": 0.9, "lr": 0.01}
    bad = [{**good, "loss": None}, {**good, "lr": "x"}, {"epoch": 1}, 7, {**good, "accuracy": True}]
    (run / "metrics.json").write_text(json.dumps({"history": [*bad, good], "unreadable": [{"path": "a"}, 3]}))
    facts = read_facts(run)
    assert facts.history == [good] and facts.unreadable == [("a", "None")]
    (run / "metrics.json").write_text('{"history": [{"epoch": 0, "loss": NaN, "accuracy": 0, "lr": 0}]}')
    assert read_facts(run).history == []


def test_older_runs_have_no_recipe(run):
    (run / "fit.yaml").unlink(missing_ok=True)
    assert read_facts(run).recipe is None


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="no config.yaml"):
        read_facts(tmp_path)


def test_files_larger_than_any_of_ours_are_not_read(run, monkeypatch):
    monkeypatch.setattr("backmix.runs.limits.MAX_TEXT", 2**20)
    for name in ("metrics.json", "fit.yaml"):
        (run / name).write_text('"' + "a" * 2**20 + '"')
    facts = read_facts(run)
    assert facts.recipe is None and facts.metrics == {} and "larger than 1 MiB" in facts.no_metrics
