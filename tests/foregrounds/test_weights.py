import socket

import pytest
import timm
import torch
from safetensors.torch import save_file

from backmix.foregrounds.attention import AttentionForeground
from backmix.foregrounds.require import MissingLibraryError
from backmix.foregrounds.weights import MissingWeightsError

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
