"""timm models run through unchanged: their head, their normalisation, their size."""

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from backmix.audit.models.base import ModelOptions
from backmix.audit.models.load import load_model
from backmix.audit.models.timm import TimmModel
from backmix.errors import DataError


def weights(path, name, classes, **options):
    """Random weights of a model in a file."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=classes, **options).eval()
    save_file(network.state_dict(), path)
    return network


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_answers_are_those_of_timm(tmp_path, name):
    network = weights(tmp_path / "w.safetensors", name, 7)
    model = load_model(f"timm:{name}@{tmp_path / 'w.safetensors'}", ModelOptions())
    config = resolve_model_data_config(network)
    size = config["input_size"][-1]
    picture = Image.radial_gradient("L").resize((300, 260)).convert("RGB")
    shown = model.frame.pixels(picture)
    assert shown.shape == (3, size, size)
    with torch.no_grad():
        mean, std = (torch.tensor(config[of])[:, None, None] for of in ("mean", "std"))
        wanted = network(((shown.float() / 255 - mean) / std)[None])
    assert torch.allclose(model.answers(shown[None]).logits, wanted, atol=1e-4)
    # What is seen is what timm would show, but for how rounding cuts and resizes.
    usual = create_transform(**config)(picture) * std + mean
    assert (usual - shown.float() / 255).abs().mean() < 0.01
    assert model.names is None and model.score is None


def test_another_size_is_taken_and_told(tmp_path):
    weights(tmp_path / "w.safetensors", "vit_tiny_patch16_224", 3, img_size=32)
    model = TimmModel(f"timm:vit_tiny_patch16_224@{tmp_path / 'w.safetensors'}", ModelOptions(image_size=32))
    assert model.frame.image_size == 32 and model.frame.crop == 1
    assert model.answers(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).logits.shape == (2, 3)
    assert model.notes == ["vit_tiny_patch16_224 is made for 224 pixels and is audited at 32."]


def test_a_file_of_torch_save_is_read_as_tensors_alone(tmp_path):
    network = weights(tmp_path / "w.safetensors", "resnet10t", 4)
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pth")
    spec = f"resnet10t@{tmp_path}/"
    first, second = (load_model(spec + file, ModelOptions(image_size=64)) for file in ("w.safetensors", "w.pth"))
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(first.answers(images).logits, second.answers(images).logits)
    assert first.fingerprint != second.fingerprint

    class Trap:
        def __reduce__(self):
            return print, ("the file was run",)

    torch.save({"state_dict": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(DataError, match="cannot be read as weights") as caught:
        load_model(spec + "trap.pth")
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_named(tmp_path):
    weights(tmp_path / "w.safetensors", "resnet10t", 4)
    with pytest.raises(DataError, match="these weights are not those of vit_tiny_patch16_224 with its head"):
        load_model(f"timm:vit_tiny_patch16_224@{tmp_path / 'w.safetensors'}")
    with pytest.raises(DataError, match="resnet18 cannot be made with these weights") as caught:
        load_model(f"timm:resnet18@{tmp_path / 'w.safetensors'}")
    assert "\n" not in str(caught.value)
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(DataError, match="not those of resnet18 with its head"):
        load_model(f"timm:resnet18@{tmp_path / 'empty.safetensors'}")


def test_published_classes_go_by_all_their_names(tmp_path, monkeypatch):
    # As it would be with the published weights, which are not fetched here: the head of a thousand classes.
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **options: create(name, **options))
    model = TimmModel("resnet10t", ModelOptions(image_size=64))
    assert len(model.names) == 1000 and model.names[281] == ["tabby", "tabby cat", "n02123045"]
    assert model.fingerprint.startswith("resnet10t.c3_in1k")
