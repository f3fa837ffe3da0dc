"""A run that is no better than a guess says so first, wherever it is shown."""

import json

import pytest
from command_folders import colour, small

from backmix.app.markup import heading
from backmix.cli.evaluate_command import evaluate_command
from backmix.cli.fit_command import fit_command
from backmix.cli.report_command import report_command
from backmix.cli.share_command import share_command
from backmix.metrics.usefulness import Verdict
from backmix.runs.advice import advice

FIRST = "Do not use this"


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """Three classes of pictures that all look alike, so that nothing can tell them apart."""
    folder = tmp_path_factory.mktemp("grey")
    for name in ("cat", "dog", "horse"):
        for number in range(30):
            colour(folder / name / f"{number}.png", (128, 128, 128))
    return folder


@pytest.fixture(scope="module")
def useless(grey, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "useless"
    fit_command(small(grey, near_duplicates=False), run)
    return run


def first_lines(said):
    return " ".join(said.split())


def test_fit_says_it_before_any_figure(grey, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("backmix.models.published.installed_weights", lambda name: None)
    fit_command(small(grey, near_duplicates=False), tmp_path / "run")
    said = first_lines(capsys.readouterr().out)
    assert FIRST in said and said.index(FIRST) < said.index("accuracy on held-out images")
    assert f'Next: pip install "backmix[weights]", then backmix fit {grey} --out NEW --train head' in said
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["verdict"]["useful"] is False


def test_without_a_test_the_held_out_images_speak(grey, tmp_path, capsys):
    fit_command(small(grey, near_duplicates=False, test_share=0.0), tmp_path / "run")
    assert FIRST in first_lines(capsys.readouterr().out)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test"] is None and metrics["verdict"]["answers"]["images"] == metrics["images"]["held_out"]


def test_evaluate_report_card_and_app_say_it_too(useless, grey, tmp_path, capsys):
    result = evaluate_command(useless, str(grey), json_file=tmp_path / "figures.json")
    said = first_lines(capsys.readouterr().out)
    assert said.index(FIRST) < said.index("closed accuracy") and result["verdict"]["useful"] is False
    page = report_command(useless, out=tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.index(FIRST) < page.index('class="lead"')
    for evaluation in (None, tmp_path / "figures.json"):
        folder = tmp_path / f"card-{evaluation is None}"
        share_command(useless, "owner/name", dry_run=folder, evaluation=evaluation, license="mit")
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert card.index(FIRST) < card.index("For a picture it answers")
    verdict = Verdict.from_dict(json.loads((useless / "metrics.json").read_text())["verdict"])
    assert heading(["cat", "dog"], advice(verdict)).count(FIRST) >= 1


def test_a_good_run_says_nothing_of_it(trained, pictures, tmp_path, capsys):
    evaluate_command(trained, str(pictures))
    assert FIRST not in first_lines(capsys.readouterr().out)
    assert FIRST not in report_command(trained, out=tmp_path / "report.html").read_text(encoding="utf-8")
