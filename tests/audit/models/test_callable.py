"""A function as a model: what it is given, what it may give."""

import sys
import textwrap

import pytest
import torch

from backmix.audit.models.base import ModelOptions, check_answers
from backmix.audit.models.callable import CallableModel
from backmix.errors import DataError

IMAGES = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "made_models.py").write_text(
        textwrap.dedent(
            """
            import numpy as np
            import torch

            def first(images):
                assert images.dtype == torch.float32 and 0 <= images.min() and images.max() <= 1
                return images.mean((2, 3))

            def whole(images):
                assert images.dtype == torch.uint8
                return images.float().mean((2, 3)).numpy()

            whole.dtype, whole.image_size, whole.classes = torch.uint8, 48, ["r", "g", "b"]

            def scored(images):
                return np.zeros((len(images), 3)), images.mean((1, 2, 3))

            class Holder:
                network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 5))
            """
        )
    )
    monkeypatch.chdir(tmp_path)  # Modules are looked for in the current folder.
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield "made_models"
    sys.modules.pop("made_models", None)


def test_pixels_in_0_to_1_by_default(module):
    model = CallableModel(f"{module}:first", ModelOptions(image_size=16))
    logits, score = model.answers(IMAGES)
    assert torch.allclose(logits, IMAGES.float().mean((2, 3)) / 255) and score is None
    assert model.names is None and model.score is None and model.frame.image_size == 16


def test_attributes_say_more(module):
    model = CallableModel(f"{module}:whole", ModelOptions())
    assert model.frame.image_size == 48 and model.names == [["r"], ["g"], ["b"]]
    assert torch.allclose(model.answers(IMAGES).logits, IMAGES.float().mean((2, 3)))


def test_a_pair_holds_unknown_scores(module):
    model = CallableModel(f"{module}:scored", ModelOptions(image_size=16))
    answers = check_answers(model.answers(IMAGES), IMAGES)
    assert answers.unknown_score.shape == (4,) and answers.unknown_score.dtype == torch.float32
    assert model.score == "its own"


def test_modules_inside_classes_will_do(module):
    model = CallableModel(f"{module}:Holder.network", ModelOptions(image_size=16))
    logits = model.answers(IMAGES).logits
    assert logits.shape == (4, 5) and not logits.requires_grad


def test_a_function_that_fails_is_named_in_one_line():
    model = CallableModel("audit_looking:broken", ModelOptions())
    with pytest.raises(DataError, match="audit_looking:broken failed on .*: RuntimeError: out of order for today"):
        model.answers(IMAGES)


def test_the_fingerprint_changes_with_the_file(module, tmp_path):
    first = CallableModel(f"{module}:first", ModelOptions()).fingerprint
    with open(tmp_path / "made_models.py", "a") as file:
        file.write("\n# Another version.\n")
    assert CallableModel(f"{module}:first", ModelOptions()).fingerprint != first
