"""The summary: right numbers, right grammar, and what is not known said as well."""

from pathlib import Path

import pytest
from report_answers import answers, thresholds

from backmix.report.chosen_images import ChosenImages
from backmix.report.run_facts import RunFacts
from backmix.report.summary import known_sentence, summarise, unknown_sentence


def facts(arguments=None, calibration=None):
    return RunFacts(Path("run"), {"arguments": arguments or {}}, {}, None, calibration or {}, None)


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        (
            (100, 87, 5, 8),
            "Of 100 new images of known classes it answers 87 right, calls 5 unknown, and answers 8 wrong.",
        ),
        (
            (3, 0, 3, 0),
            "Of 3 new images of known classes it answers none right, calls 3 unknown, and answers none wrong.",
        ),
        ((1200, 1200, 0, 0), "It answers all 1,200 new images of known classes right."),
        ((1, 1, 0, 0), "The only new image of a known class is answered right."),
        ((1, 0, 1, 0), 'The only new image of a known class is called "unknown".'),
        ((1, 0, 0, 1), "The only new image of a known class is answered wrong."),
        ((0, 0, 0, 0), "No image of a known class was tested, so how often it is right cannot be said."),
    ],
)  # fmt: skip
def test_what_became_of_known_images(numbers, sentence):
    assert known_sentence(*numbers) == sentence


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ((100, 62), "Of 100 new images of other things it says unknown for 62, and takes 38 for a class it knows."),
        ((5, 5), "It says unknown for all 5 new images of other things."),
        ((5, 0), "It says unknown for none of 5 new images of other things, and takes all for a class it knows."),
        ((1, 1), "The only new image of something else is called unknown."),
        ((1, 0), "The only new image of something else is taken for \u2068cat\u2069."),
        ((0, 0), "No image of anything else was tested, so how many unknown things it catches cannot be said."),
    ],
)
def test_what_became_of_unknown_images(numbers, sentence):
    assert unknown_sentence(*numbers, ["cat"]) == sentence


def test_only_images_that_nothing_was_fitted_on_are_called_new():
    assert "new" not in known_sentence(10, 5, 3, 2, "")
    tested = answers([("cat", "cat", True, 0)] * 2)
    assert "2 new images" in summarise(tested, ChosenImages(new=True), thresholds(), facts()).lead[0]
    assert "2 images" in summarise(tested, ChosenImages(new=False), thresholds(), facts()).lead[0]


def test_bars_and_figures_add_up():
    rows = [("cat", "cat", True, 0.1)] * 6 + [("cat", "dog", True, 0.2)] * 3 + [("dog", "dog", False, 0.99)]
    rows += [("cow", "cat", True, 0.3)] * 2 + [("cow", "cat", False, 0.98)] * 3
    summary = summarise(answers(rows), ChosenImages(), thresholds(), facts())
    known, unknown = summary.outcomes
    assert [(part.kind, part.images) for part in known.parts] == [("right", 6), ("unknown", 1), ("wrong", 3)]
    assert [(part.kind, part.images) for part in unknown.parts] == [("right", 3), ("wrong", 2)]
    assert known.words.replace("\u00a0", " ") == (
        "Images of known classes, 10: answered right 6 (60 %), called unknown 1 (10 %), answered wrong 3 (30 %)."
    )
    values = {figure.name: (figure.value.replace("\u00a0", " "), figure.detail) for figure in summary.figures}
    assert values["known images answered right"][0] == "60 %" and values["unknown images caught"][0] == "60 %"
    assert values["right when it names a class"][0] == "54.5 %"
    assert (
        "6 of 11" in values["right when it names a class"][1]
        and "10 known and 5 unknown" in values["right when it names a class"][1]
    )
    assert values["AUROC"][0] == "0.900"  # 45 of 50 pairs.


def test_caveats_say_what_a_reader_must_know():
    few = summarise(answers([("cat", "cat", True, 0)]), ChosenImages(notes=["From afar."]), thresholds(5), facts())
    text = " ".join(few.caveats)
    assert few.caveats[0] == "From afar." and "Only 1 image of known classes was tested" in text
    assert "Without unknown images there is no AUROC" in text
    assert "1 known class has no image among those tested: \u2068dog\u2069" in text
    assert (
        "The threshold is infinite: every image is accepted: a threshold for a share of 0.95 takes at least 19" in text
    )
    rows = [(name, name, True, 0) for name in ("cat", "dog")] * 20 + [("cow", "cat", True, 1)] * 40
    tested = answers(rows, unreadable=[("a.png", "empty")])
    many = summarise(tested, ChosenImages(), thresholds(), facts())
    assert many.caveats == ["1 image could not be read and is not counted; see the settings."]
    shown = summarise(answers(rows), ChosenImages(), thresholds(), facts({"outliers": "places"}))
    assert "learned from outliers, \u2068places\u2069" in shown.caveats[0]


def test_example_unknowns_that_chose_the_detector_are_told():
    chosen = {"chosen": {"detector": "msp", "auroc": {"msp": 0.9, "energy": 0.8}, "images": 40}}
    rows = [("cat", "cat", True, 0), ("cow", "cat", True, 1)] * 40
    summary = summarise(answers(rows), ChosenImages(), thresholds(), facts(calibration=chosen))
    assert "msp, was chosen among msp and energy by 40 example unknowns" in " ".join(summary.promise)
    assert any("flatter a little" in caveat for caveat in summary.caveats)
    odd = summarise(answers(rows), ChosenImages(), thresholds(), facts(calibration={"chosen": {"images": "x"}}))
    assert "was chosen" not in " ".join(odd.promise)
