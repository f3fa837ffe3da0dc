"""TorchScript files as models."""

import pytest
import torch
from torch import nn

from backmix.audit.models.base import ModelOptions
from backmix.audit.models.torchscript import TorchScriptModel
from backmix.errors import DataError

IMAGES = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(768, 4)

    def forward(self, images):
        logits = self.head(images.flatten(1))
        return logits, logits.max(1).values


def save(network, path):
    torch.jit.trace(network.eval(), torch.zeros(2, 3, 16, 16)).save(str(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_first_of_its_outputs_is_logits(tmp_path):
    network = Two()
    save(network, tmp_path / "two.pt")
    options = ModelOptions(image_size=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    model = TorchScriptModel(tmp_path / "two.pt", options)
    wanted = network((IMAGES.float() / 255 - 0.5) / 0.25)[0]
    assert torch.allclose(model.answers(IMAGES).logits, wanted, atol=1e-5)
    assert model.answers(IMAGES).unknown_score is None and model.names is None
    assert "which is a program" in model.notes[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_another_size_and_another_file_are_named_in_one_line(tmp_path):
    save(Two(), tmp_path / "two.pt")
    with pytest.raises(DataError, match="does not take images of 32 pixels") as caught:
        TorchScriptModel(tmp_path / "two.pt", ModelOptions(image_size=32)).answers(torch.zeros(1, 3, 32, 32).byte())
    assert "\n" not in str(caught.value)
    torch.save({"a": torch.zeros(2)}, tmp_path / "state.pt")
    with pytest.raises(DataError, match="cannot be loaded as TorchScript") as caught:
        TorchScriptModel(tmp_path / "state.pt", ModelOptions())
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_file_of_ours_says_it_all(trained, tmp_path):
    from backmix import OpenSetClassifier
    from backmix.audit.models.run import RunModel
    from backmix.export.module import describe, exported_model
    from backmix.export.program import capture
    from backmix.export.to_torchscript import torchscript_bytes

    classifier = OpenSetClassifier.load(trained)
    content = torchscript_bytes(capture(exported_model(classifier), 32), describe(classifier))
    (tmp_path / "model.pt").write_bytes(content)
    model, run = TorchScriptModel(tmp_path / "model.pt", ModelOptions()), RunModel(trained, ModelOptions())
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for found, wanted in zip(model.answers(images), run.answers(images)):
        assert torch.allclose(found, wanted, atol=1e-4)
    assert model.names == run.names and model.score == run.score and model.frame == run.frame
    with pytest.raises(DataError, match="images of 32 pixels"):
        TorchScriptModel(tmp_path / "model.pt", ModelOptions(image_size=64))
