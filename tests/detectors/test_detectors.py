"""What all detectors share: the dict, the call, the shapes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.detectors import DETECTORS, METHOD, OURS, REWRITTEN, WRAPPED, Detector, check_name
from backmix.methods.logit_scores import check_logits

each = pytest.mark.parametrize("name", ["msp", "max_logit", "energy"])  # What looks at logits and learns nothing.


def logits_of(rows, columns, seed=0, dtype=torch.float32):
    return (5 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))).to(dtype)


def test_names():
    looking_at_logits = ["msp", "max_logit", "energy", "openmax"]
    assert list(OURS) == [*looking_at_logits, "cosine_mean", "cosine_knn", "shrunk_mahalanobis"]
    assert list(DETECTORS) == [*OURS, *WRAPPED] and METHOD not in DETECTORS
    assert set(REWRITTEN) <= set(WRAPPED) and all(DETECTORS[name] is made for name, made in REWRITTEN.items())
    for name in (METHOD, *DETECTORS):
        check_name(name)
    with pytest.raises(ValueError, match="no detector 'mps'; there are method, msp, max_logit, energy, openmax, .*knn"):
        check_name("mps")


def test_every_name_has_a_row_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "detectors.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"`{name}`" for name in (METHOD, *OURS)] + rows[8:]
    assert sorted(rows[8:]) == sorted(f"`{name}`" for name in WRAPPED)


def test_names_cost_no_import_of_pytorch_ood():
    code = "import sys, backmix.classifier; print('pytorch_ood' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


def test_what_is_not_written_is_not_there():
    for call in (
        lambda: Detector()(torch.rand(2, 3), torch.rand(2, 4)),
        lambda: Detector().score_images(torch.rand(2)),
    ):
        with pytest.raises(NotImplementedError):
            call()


@each
def test_nothing_is_learnt_and_no_image_looked_at(name):
    detector = DETECTORS[name]()
    assert not detector.needs_fitting and not detector.needs_images
    before = detector(logits_of(5, 3))
    detector.fit(logits_of(9, 3, seed=1), torch.rand(9, 4), torch.zeros(9, dtype=torch.int64))
    assert torch.equal(detector(logits_of(5, 3)), before)


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_call_form(name, dtype):
    logits, features = logits_of(7, 4, dtype=dtype), torch.rand(7, 16)
    before = logits.clone()
    detector = DETECTORS[name]()
    detector.fit(logits, features, torch.zeros(7, dtype=torch.int64))
    scores = detector(logits, features)
    assert scores.shape == (7,)
    assert scores.dtype == torch.float64
    assert torch.equal(logits, before)
    assert torch.equal(scores, detector(logits.double(), features))
    assert torch.equal(scores, detector(logits))


@each
def test_a_confident_image_is_less_unknown(name):
    unsure, sure = DETECTORS[name]()(torch.tensor([[0.1, 0.0, -0.1], [9.0, 0.0, 0.0]]))
    assert unsure > sure


@each
@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_images_and_classes_in_any_order(name, seed, classes):
    logits = logits_of(5, classes, seed).double()
    detector = DETECTORS[name]()
    scores = detector(logits)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randperm(5, generator=generator)
    columns = torch.randperm(classes, generator=generator)
    torch.testing.assert_close(detector(logits[images][:, columns]), scores[images], rtol=1e-12, atol=1e-12)
    # One image alone scores as it does in a batch.
    torch.testing.assert_close(detector(logits[:1]), scores[:1], rtol=1e-12, atol=1e-12)


@each
def test_gradient_reaches_the_logits(name):
    logits = logits_of(3, 4).requires_grad_()
    DETECTORS[name]()(logits).sum().backward()
    assert logits.grad is not None and (logits.grad != 0).any()


@each
def test_an_empty_batch(name):
    assert DETECTORS[name]()(torch.empty(0, 3)).shape == (0,)


@each
def test_a_class_ruled_out_and_a_broken_image(name):
    inf, nan = float("inf"), float("nan")
    scores = DETECTORS[name]()(torch.tensor([[2.0, 1.0, -inf], [2.0, 1.0, -1e4], [nan, 0.0, 0.0]]))
    assert scores[0] == scores[1]
    assert scores[2].isnan()


@each
@pytest.mark.parametrize(
    "logits", [torch.rand(3), torch.rand(2, 3, 4, 4), torch.rand(3, 1), torch.rand(3, 0), torch.ones(3, 4).long()]
)
def test_bad_logits(name, logits):
    with pytest.raises(ValueError, match=r"logits must be \(B, K\) float.*got \("):
        DETECTORS[name]()(logits)


def test_checked_logits_are_as_wide_as_the_device_allows():
    assert check_logits(torch.rand(2, 3, dtype=torch.bfloat16)).dtype == torch.float64
