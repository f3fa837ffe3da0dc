"""The network that is chosen where nothing is said: by the size of the images and by whether weights are at hand."""

import pytest

from backmix.fit.choices import PUBLISHED, SMALL, ModelChoice, choose_model, weights_at_hand


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and a cache of our own; gives what puts the weights of a model into it."""
    import timm
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def fill(name):
        repository = timm.get_pretrained_cfg(name).hf_hub_id
        folder = tmp_path / f"models--{repository.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
        (folder / "snapshots" / ("0" * 40) / "model.safetensors").touch()

    return fill


def test_photographs_start_from_published_weights_where_they_are(offline):
    assert choose_model(160) == ModelChoice(
        SMALL,
        False,
        "random weights: those published of resnet18.a1_in1k are not in the cache, and HF_HUB_OFFLINE forbids to "
        "fetch them",
    )
    offline(PUBLISHED["cpu"])
    assert choose_model(160) == ModelChoice(PUBLISHED["cpu"], True, "published weights, in the cache")
    assert not choose_model(160, accelerator=True).pretrained
    offline(PUBLISHED["accelerator"])
    assert choose_model(160, accelerator=True).model == PUBLISHED["accelerator"]


def test_small_images_and_wishes(offline):
    offline(PUBLISHED["cpu"])
    assert choose_model(64).model == SMALL and "too small" in choose_model(64).why
    assert choose_model(160, pretrained=False) == ModelChoice(SMALL, False, "random weights, as asked for")
    assert choose_model(160, model="vgg32") == ModelChoice("vgg32", False, "random weights: none are published")
    assert choose_model(64, model=PUBLISHED["cpu"]).pretrained
    assert choose_model(64, model="resnet34", pretrained=True).pretrained  # Whether they are there is seen on loading.
    assert choose_model(64, model="resnet34").model == "resnet34"
    with pytest.raises(ValueError, match="no published weights of compact; take --no-pretrained"):
        choose_model(160, model="compact", pretrained=True)


def test_a_network_that_cannot_be_reached(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    there, why = weights_at_hand("resnet18.a1_in1k", timeout=2)
    assert not there and why.startswith("are not in the cache and cannot be fetched (")


def test_a_model_that_timm_does_not_have():
    there, why = weights_at_hand("resnet18_of_our_own")
    assert not there and "timm has no such model" in why
