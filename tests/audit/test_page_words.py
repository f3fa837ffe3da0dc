"""The sentences of an audit's page: strong where the figures are, and no stronger."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmix.audit import page_words as words


def of(value, low, high):
    return {"value": value, "low": low, "high": high}


def made(gap, *, images=200, cost=None, right=0.9, classes=(100, 100, 100), estimated=False, source="true"):
    """What audit.json would hold of an audit with such figures."""
    sets = ("original", "repasted", "only-foreground", "only-background", "mixed-same", "mixed-random", "mixed-next")
    values = dict.fromkeys(sets, right) | {"mixed-same": 0.92, "mixed-random": 0.24, "mixed-next": 0.11}
    return {
        "background_gap": gap,
        "accuracy": values,
        "accuracy_intervals": {name: of(value, value - 0.05, value + 0.05) for name, value in values.items()},
        "images": dict.fromkeys(sets, images),
        "pasting_cost": cost,
        "classes": {f"c{number}": {"images": count} for number, count in enumerate(classes)},
        "masks": {"estimated": estimated, "source": source, "faults": {}},
    }


def test_a_large_gap_is_said_with_its_numbers():
    assert words.lead(made(of(0.68, 0.62, 0.74))) == [
        "With the background of another image of its class it answers 92 of 100 right, with one of any class 24 of "
        "100: a gap of 68 points (62 to 74).",
        "This classifier recognises much by the background.",
    ]
    assert "answers 11 of 100 right" in words.next_sentence(made(of(0.68, 0.62, 0.74)))


@pytest.mark.parametrize(
    ("gap", "said", "unsaid"),
    [
        (of(0.5, 0.4, 0.6), "recognises much", "not shown"),
        (of(0.15, 0.1, 0.2), "leans on the background.", "much"),
        (of(0.04, 0.01, 0.07), "leans on the background a little", "much"),
        (of(0.4, -0.1, 0.8), "is not shown. Nor is it ruled out, as the gap may be up to 80 points", "recognises"),
        (of(0.01, -0.02, 0.04), "is not shown, and 4.0 points is about the most", "recognises"),
        (of(-0.2, -0.3, -0.1), "That is rare", "leans on"),
        (of(0.0, 0.0, 0.0), "No exchange of backgrounds made a difference", "leans on"),
    ],
)
def test_the_verdict_claims_no_more_than_the_interval(gap, said, unsaid):
    assert said in words.verdict(gap) and unsaid not in words.verdict(gap)


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
def test_no_verdict_of_leaning_where_the_interval_holds_zero(value, below, above):
    gap = of(value, max(-1, value - below), min(1, value + above))
    said = words.verdict(gap)
    claims = said.startswith(("This classifier leans", "This classifier recognises"))
    assert claims == (gap["low"] > 0)
    assert "-" not in words.points(gap) and "−0 " not in words.points(gap) and "−0.0" not in words.points(gap)


def test_without_a_gap_it_says_so():
    sentences = words.lead(made(None))
    assert "cannot be said" in sentences[0] and "90" in sentences[1]
    assert words.next_sentence(made(None)) is None
    assert "so the audit fails" in words.allowed_sentence(made(None), 0.1)


@pytest.mark.parametrize(("allowed", "said"), [(0.1, "above the 10 points"), (0.7, "within the 70 points")])
def test_the_allowed_gap_is_compared(allowed, said):
    assert said in words.allowed_sentence(made(of(0.68, 0.62, 0.74)), allowed)
    assert words.allowed_sentence(made(of(0.68, 0.62, 0.74)), None) is None


@pytest.mark.parametrize(
    ("share", "images", "said"),
    [
        (6 / 25, 25, "6 of 25"),
        (0.241, 200, "24 of 100"),
        (0.999, 1000, "more than 99 of 100"),
        (0.001, 1000, "fewer than 1 of 100"),
        (0.0, 1000, "0 of 100"),
        (1.0, 1000, "100 of 100"),
    ],
)
def test_shares_as_counts(share, images, said):
    assert words.right_of(share, images) == said


def test_the_cost_of_pasting():
    assert words.pasting_sentence(made(None)) is None
    assert "no cost is shown" in words.pasting_sentence(made(None, cost=of(0.004, -0.01, 0.02)))
    assert "a good part" in words.pasting_sentence(made(None, cost=of(0.2, 0.1, 0.3)))
    assert "a small part" in words.pasting_sentence(made(None, cost=of(0.03, 0.01, 0.05)))
    assert "more is right after pasting" in words.pasting_sentence(made(None, cost=of(-0.1, -0.2, -0.05)))


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (made(None, images=12), "Only 12 images could be given another background"),
        (made(None, right=0.3), "has no gap either"),
        (made(None, classes=(100, 4, 100)), "Fewer than 10 images each: \u2068c1\u2069"),
        (made(None, classes=(100,)), "There is one class"),
        (made(None, classes=(100, 100)), "of its own half of the time"),
        (made(None, estimated=True, source="saliency"), "The masks are estimated"),
    ],
)
def test_caveats(result, said):
    assert any(said in caveat for caveat in words.caveats(result))
    assert words.caveats(made(of(0.68, 0.62, 0.74))) == []


def test_images_left_out_are_a_caveat():
    result = made(None)
    result["images"]["mixed-random"] = 150
    assert "Only 150 of 200 images" in words.caveats(result)[0]


def test_masks_are_trusted_by_where_they_come_from():
    assert words.mask_sentences(made(None))[0].startswith("The masks are the data’s own.")
    assert "given beside the images" in words.mask_sentences(made(None, source="given"))[0]
    centre = " ".join(words.mask_sentences(made(None, estimated=True, source="centre")))
    assert "no image was looked at" in centre and words.MEASURED not in centre
    saliency = words.mask_sentences(made(None, estimated=True, source="saliency"))
    assert "by saliency; nobody has drawn them" in saliency[0] and words.MEASURED in saliency


def test_what_a_class_leans_on():
    of_class = {"name": "cat", "kind": "class", "share": 0.5, "otherwise": 0.1, "images": 20}
    assert words.leaning("cat", None) is None
    assert words.leaning("cat", of_class)[0] == "its own"
    assert words.leaning("dog", of_class)[0] == "cat" and "other objects on it" in words.leaning("dog", of_class)[1]
    # A scene may be called as a class is.
    assert words.leaning("cat", of_class | {"kind": "scene"})[0] == "cat"
