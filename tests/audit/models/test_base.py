"""Which model a word stands for, and what no answer may be."""

import pytest
import torch

from backmix.audit.models.base import Answers, ModelOptions, check_answers
from backmix.audit.models.load import load_model
from backmix.errors import DataError

IMAGES = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("resnet1o", "no model 'resnet1o': no such file or folder, and timm has no model of that name, did you mean"),
        ("runs/none", "there is no model 'runs/none'"),
        ("no_such_module:f", "no_such_module:f cannot be imported: No module named"),
        ("audit_looking:none", "cannot be imported: .* has no attribute 'none'"),
        ("audit_looking:NAMES", "is no function, but a list"),
        ("none.pt", "there is no file none.pt"),
        ("none.onnx", "there is no file none.onnx"),
        ("timm:resnet10t@none.safetensors", "there is no file of weights 'none.safetensors'"),
        ("timm:no_net@none.safetensors", "timm has no model of that name"),
    ],
)
def test_what_is_no_model_is_said_in_one_line(spec, said):
    with pytest.raises(DataError, match=said) as caught:
        load_model(spec)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"")
    with pytest.raises(DataError, match="is no model that can be audited"):
        load_model(str(file))


def test_each_kind_is_found(trained):
    assert load_model(str(trained)).kind == "run"
    assert load_model("audit_looking:rim").kind == "function"


def test_published_weights_out_of_reach_are_an_error_of_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match="weights of resnet10t are not in the cache") as caught:
        load_model("resnet10t")
    assert "\n" not in str(caught.value) and "@FILE.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("logits", "score", "said"),
    [
        (torch.zeros(3), None, r"must answer \(B, K\) logits"),
        (torch.zeros(2, 4), None, "for 3 images it gave"),
        (torch.zeros(3, 1), None, "two or more classes"),
        (torch.zeros(3, 4), torch.zeros(3, 1), "one unknown score an image"),
        (torch.tensor([[0.0, 1.0], [torch.nan, 0.0], [0.0, 0.0]]), None, "NaN for 1 of 3 images"),
        (torch.zeros(3, 4), torch.tensor([0.0, torch.nan, torch.nan]), "NaN for 2 of 3 images"),
    ],
)
def test_answers_of_no_use_are_refused(logits, score, said):
    with pytest.raises(DataError, match=said):
        check_answers(Answers(logits, score), IMAGES)


def test_answers_of_use_are_handed_on():
    answers = Answers(torch.tensor([[0.0, -torch.inf]] * 3), torch.zeros(3))
    assert check_answers(answers, IMAGES) is answers


def test_options_say_how_pixels_become_numbers():
    options = ModelOptions(mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    assert options.normalise(images)[:, :, 0, 0].tolist() == [[-2, -1, -0.5], [2, 1, 0.5]]
    assert options.size() == 224 and options.size(96) == 96 and ModelOptions(image_size=64).size(96) == 64
    with pytest.raises(DataError, match="std above 0"):
        ModelOptions(std=(1.0, 0.0, 1.0))
