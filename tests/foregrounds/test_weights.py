import importlib
import socket

import pytest
import timm
import torch
from safetensors.torch import save_file

from backmix.errors import BackmixError
from backmix.foregrounds import FOREGROUND_SOURCES, MissingLibraryError
from backmix.foregrounds.attention import AttentionForeground
from backmix.foregrounds.weights import MissingWeightsError, require

TINY = "test_vit"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("somebody wants the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def tiny(**options):
    torch.manual_seed(0)
    return AttentionForeground(**{"model": TINY, "pretrained": False, "image_size": 64, **options})


def test_weights_are_read_from_a_file(tmp_path):
    torch.manual_seed(5)
    other = timm.create_model(TINY, img_size=64)
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    estimator = tiny(weights=tmp_path / "other.safetensors")
    torch.testing.assert_close(estimator.network.blocks[0].attn.qkv.weight, other.blocks[0].attn.qkv.weight)


def test_weights_are_found_in_the_cache_of_the_hub(tmp_path, no_network):
    name = f"{TINY}.r160_in1k"
    torch.manual_seed(6)
    other = timm.create_model(TINY)  # 160 pixels: positions are interpolated on loading
    snapshot = tmp_path / f"models--timm--{name}" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / f"models--timm--{name}" / "refs").mkdir()
    (tmp_path / f"models--timm--{name}" / "refs" / "main").write_text("abc")
    save_file(other.state_dict(), snapshot / "model.safetensors")
    estimator = AttentionForeground(model=name, cache_dir=tmp_path, image_size=64)
    torch.testing.assert_close(estimator.network.blocks[0].attn.qkv.weight, other.blocks[0].attn.qkv.weight)


def test_nothing_is_downloaded_unasked(tmp_path, no_network):
    with pytest.raises(MissingWeightsError, match=r"dino are not in the cache .*download=True.*pretrained=False"):
        AttentionForeground(cache_dir=tmp_path)
    assert issubclass(MissingWeightsError, MissingLibraryError)


def test_weights_of_another_model_are_refused_by_name(tmp_path):
    save_file({"something": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(
        ValueError, match=r"^attention: other\.safetensors is not the weights of test_vit: \d+ tensors are missing"
    ):
        tiny(weights=tmp_path / "other.safetensors")


def test_weights_of_a_wider_model_are_refused_by_name(tmp_path):
    save_file(timm.create_model("test_vit2", num_classes=0, img_size=64).state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(ValueError, match=r"^attention: .*wide\.safetensors"):
        tiny(weights=tmp_path / "wide.safetensors")


@pytest.fixture
def missing(monkeypatch):
    """Make some packages impossible to import."""

    def hide(*names):
        real = importlib.import_module

        def refuse(module, *rest):
            if module.partition(".")[0] in names:
                raise ModuleNotFoundError(f"No module named {module!r}")
            return real(module, *rest)

        monkeypatch.setattr(importlib, "import_module", refuse)

    return hide


@pytest.mark.parametrize(
    ("source", "package"), [("saliency", "skimage"), ("grabcut", "cv2"), ("grabcut", "skimage"), ("attention", "timm")]
)
def test_a_missing_package_is_named_with_what_to_install(source, package, missing):
    if (source, package) == ("grabcut", "skimage"):
        pytest.importorskip("cv2")
    missing(package)
    with pytest.raises(MissingLibraryError, match=rf'{package}.*pip install "backmix\[foregrounds\]"') as caught:
        FOREGROUND_SOURCES[source]()
    assert isinstance(caught.value, BackmixError | ImportError)


def test_grabcut_from_a_box_needs_no_scikit_image(missing):
    pytest.importorskip("cv2")
    missing("skimage")
    assert FOREGROUND_SOURCES["grabcut"](start="box").name == "grabcut"


def test_what_is_there_is_returned():
    assert require("json.decoder", "x").JSONDecoder


def test_every_source_goes_by_its_name():
    assert {name: source.name for name, source in FOREGROUND_SOURCES.items()} == {
        name: name for name in FOREGROUND_SOURCES
    }
