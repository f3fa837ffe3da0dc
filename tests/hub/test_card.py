"""The model card: front matter the hub reads, and text that is true of the run."""

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData
from markdown_it import MarkdownIt
from nasty_names import NASTY

from backmix.classifier import OpenSetClassifier
from backmix.hub.card import LEFT_OUT, MOST_CLASSES, model_card
from backmix.runs.folder import read_config
from backmix.threshold.conformal import ConformalThreshold

CONFIG = {"format": 1, "backmix": "0.1.0", "model": "compact-s", "method": "softmax", "image_size": 32}


def card(classes=("cat", "dog"), config=None, **options):
    classifier = OpenSetClassifier(list(classes), model="compact-s")
    classifier.thresholds = {"max_logit": ConformalThreshold.fit(torch.linspace(0, 1, 40))}
    return model_card(classifier, {**CONFIG, **(config or {})}, "alice/pets", **options)


def head(text):
    empty, front, _ = text.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(front)


def test_the_head_is_what_the_hub_looks_for():
    assert head(card()) == {
        "library_name": "backmix",
        "pipeline_tag": "image-classification",
        "tags": ["backmix", "image-classification", "open-set-recognition", "out-of-distribution-detection"],
        "metrics": ["accuracy", "roc_auc"],
    }
    assert head(card(license="cc-by-4.0"))["license"] == "cc-by-4.0"


@pytest.mark.parametrize("license", ["", "mine\ntags: [x]", "Apache 2.0", "a: b", "---", "x" * 100])
def test_a_licence_that_is_no_identifier(license):
    with pytest.raises(ValueError, match="a licence is named as the hub does, as in apache-2.0"):
        card(license=license)


def test_a_missing_licence_is_said_and_not_made_up():
    assert "license" not in head(card()) and "**Not stated yet.**" in card()
    pretrained = card(config={"chosen": {"pretrained": True}}, license="mit")
    assert "Not stated" not in pretrained and "They began as the published weights of" in pretrained


def test_it_says_what_it_is_how_to_load_it_and_what_it_promises():
    text = card()
    assert "the name of one of 2 classes, or “unknown”" in text and "2 known classes: cat, dog." in text
    assert 'classifier = OpenSetClassifier.load("hub:alice/pets")' in text
    assert "**40 known images**" in text and "accept **95 %**" in text
    assert "Nothing is promised about unknown images" in text
    assert "Trained with backmix `0.1.0`, run format 1" in text and f"torch `{torch.__version__.split('+')[0]}" in text


@pytest.mark.parametrize(("augmentation", "mixed"), [("backmix", True), ("randaugment+swap", True), ("cutmix", False)])
def test_backgrounds_are_spoken_of_as_they_were_treated(augmentation, mixed):
    text = card(config={"arguments": {"augmentation": augmentation}})
    assert ("trained with mixed backgrounds" in text) is mixed
    assert ("Nothing was done in training against" in text) is not mixed


def test_the_recipe_is_told(trained):
    config = read_config(trained)
    classifier = OpenSetClassifier.load(trained)
    text = model_card(classifier, config, "alice/colours", metrics={"images": {"train": 96, "held_out": 24}})
    for row in ("| images to train on | 96 |", "| network | `compact-s` |", "| epochs | 6 |", "| optimiser | `muon` |"):
        assert row in text
    assert model_card(classifier, config, "alice/colours") != text


@pytest.mark.parametrize("files", [(), ("training.safetensors",)])
def test_features_of_training_images_are_spoken_of_where_they_are_shared(files):
    assert ("`training.safetensors` holds features" in card(files=files)) is bool(files)


MEASURED = {
    "images": {"known": 120, "unknown": 80},
    "accuracy": 0.9,
    "detectors": {"max_logit": {"auroc": 0.8}, "energy": {"auroc": 0.7}},
}


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (LEFT_OUT, "held-out images", "custom"),
        (None, "held-out images", "custom"),
        ("hub:owner/photos", "hub:owner/photos", "owner/photos"),
        ("digits:prior=0.8,seed=1", "digits:prior=0.8,seed=1", "digits"),
    ],
)
def test_the_hub_reads_the_figures_of_the_runs_own_test(data, name, kind):
    text = card(config={"arguments": {"data": data}}, metrics={"test": MEASURED}, license="mit")
    read = ModelCard(text).data
    assert isinstance(read, ModelCardData) and read.model_name == "pets"
    found = {each.metric_type: each for each in read.eval_results}
    assert {key: each.metric_value for key, each in found.items()} == {"accuracy": 0.9, "roc_auc": 0.8}
    assert {(each.dataset_name, each.dataset_type) for each in read.eval_results} == {(name, kind)}
    assert yaml.safe_load(read.to_yaml()) == head(text)
    assert {key: value for key, value in head(text).items() if key != "model-index"} == head(card(license="mit"))


def test_figures_of_another_test_set_are_not_said_to_be_of_the_runs_data():
    given = {"config": {"arguments": {"data": "digits"}}, "metrics": {"test": MEASURED}}
    read = ModelCard(card(**given, evaluation={**MEASURED, "accuracy": 0.7})).data
    assert [each.metric_value for each in read.eval_results] == [0.7, 0.8]
    assert {each.dataset_name for each in read.eval_results} == {"test images"}


@pytest.mark.parametrize("figures", [{}, {"accuracy": "high"}, {"accuracy": float("nan"), "detectors": []}, []])
def test_where_nothing_was_measured_there_is_no_index(figures):
    assert "model-index" not in head(card(metrics={"test": figures}))


def test_many_classes_are_not_all_named():
    text = card([f"class {number}" for number in range(MOST_CLASSES + 5)])
    assert "class 199, and 5 more, all of them in `classes.json`" in text and "class 200" not in text


def test_nasty_class_names_change_nothing_but_their_place():
    """The page with nasty names has the same elements as the page with plain ones."""
    markdown = MarkdownIt("gfm-like", {"html": True, "linkify": False})
    names = [name for name in dict.fromkeys(NASTY) if name]

    def elements(text):
        tokens = markdown.parse(text.split("---\n", 2)[2])
        children = [child for token in tokens for child in token.children or []]
        return [token.type for token in [*tokens, *children]]

    nasty, plain = card(names), card([f"c{number}" for number in range(len(names))])
    assert elements(nasty) == elements(plain) and "html_block" not in elements(nasty)
    assert head(nasty) == head(plain)


def test_config_that_says_little_makes_a_card():
    classifier = OpenSetClassifier(["a", "b"], model="compact-s")
    text = model_card(classifier, CONFIG, "alice/pets", metrics={"images": 3, "seconds": "x", "test": []})
    assert "It has no threshold yet" in text and "None were given" in text
