"""The virtual logit against pytorch-ood in float64, a loop, and answers known by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_ood_reference import clusters, in_float64
from torch import nn

from backmix.detectors import PytorchOOD, ViM


def a_head(channels=16, classes=5, seed=3, bias=True):
    random = torch.Generator().manual_seed(seed)
    head = nn.Linear(channels, classes, bias=bias).requires_grad_(False)
    head.weight.copy_(torch.randn(classes, channels, generator=random))
    if bias:
        head.bias.copy_(torch.randn(classes, generator=random))
    return head


def fitted(training, labels, head, **options):
    detector = ViM(weight=head.weight, bias=head.bias, **options)
    detector.fit(head(training.float()), training, labels)
    return detector


def slow_scores(training, features, head, d):
    """By the projection onto the complement of the principal directions, from a singular value decomposition."""
    weight, bias = head.weight.double(), head.bias.double()
    origin = -torch.linalg.pinv(weight, rtol=1e-5) @ bias
    _, _, directions = torch.linalg.svd(training.double() - origin, full_matrices=True)
    principal = directions[:d]

    def parts(x):
        x = x.double()
        gap = x - origin
        return (gap - gap @ principal.T @ principal).norm(dim=1), x @ weight.T + bias

    residual, logits = parts(training)
    alpha = logits.amax(1).mean() / residual.mean()
    residual, logits = parts(features)
    return alpha * residual - logits.logsumexp(1)


@pytest.mark.parametrize("d", [0, 1, 8, 15, 40])
def test_agrees_with_pytorch_ood_in_float64(monkeypatch, d):
    ood = pytest.importorskip("pytorch_ood.detector")
    training, labels = clusters(uneven=0.5)
    features, head = clusters(60, seed=1, uneven=0.5)[0], a_head()
    with in_float64(monkeypatch):
        theirs = ood.ViM(None, d, head.weight, head.bias).fit_features(training.double(), labels)
        expected = theirs.predict_features(features.double())
    detector = fitted(training, labels, head, d=d)
    found = detector(head(features), features)
    assert found.dtype == torch.float64 and detector.d == min(d, 8 if d > 16 else d) == theirs.d
    assert detector.alpha == pytest.approx(theirs.alpha, rel=1e-6)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.std().item())


def test_is_near_the_wrapped_detector_whose_thresholds_runs_keep():
    """It finds the subspace in float32, where directions with about the same variance follow from rounding."""
    pytest.importorskip("pytorch_ood")
    training, labels = clusters()
    features, head = clusters(60, seed=1)[0], a_head()
    theirs = PytorchOOD("vim", weight=head.weight, bias=head.bias)
    theirs.fit(head(training), training, labels)
    expected = theirs(head(features), features).double()
    found = fitted(training, labels, head)(head(features), features)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * expected.std().item())


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(2, 20), st.integers(0, 60))
def test_agrees_with_a_projection_whatever_the_shape(seed, classes, channels, more):
    training, labels = clusters(classes + channels + more, classes, channels, seed=seed)
    training = training * torch.linspace(1, 3, channels)
    features, head = clusters(20, classes, channels, seed=seed + 1)[0], a_head(channels, classes, seed)
    detector = fitted(training, labels, head)
    found, expected = detector(head(features), features), slow_scores(training, features, head, detector.d)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_known_answers():
    # The head has no bias, so the origin is 0. The second channel varies least, and is the residual.
    head = nn.Linear(2, 2, bias=False).requires_grad_(False)
    head.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    training = torch.tensor([[4.0, 1.0], [4.0, -1.0], [-4.0, 1.0], [-4.0, -1.0]])
    detector = ViM(weight=head.weight)
    detector.fit(head(training), training, torch.tensor([0, 0, 1, 1]))
    assert detector.d == 1 and detector.alpha == pytest.approx(4)
    test = torch.tensor([[0.0, 0.0], [0.0, 3.0]])
    log2 = torch.tensor(2.0).log().item()
    assert detector(head(test), test).tolist() == pytest.approx([-log2, 12 - log2])


def test_rows_of_the_head_that_add_up_to_zero_but_for_rounding():
    """The bias has a part across the rows, which the pseudo-inverse must not take for a shift of the features."""
    training, labels = clusters()
    head = a_head()
    head.weight -= head.weight.mean(0)
    detector = fitted(training, labels, head)
    assert detector.origin.norm() < 10
    features = clusters(60, seed=1)[0]
    torch.testing.assert_close(
        detector(head(features), features), slow_scores(training, features, head, detector.d), rtol=1e-5, atol=1e-4
    )


def test_without_a_residual_the_scores_are_finite_and_a_new_direction_is_far_out():
    training, labels = clusters(60)
    training[:, 4:] = 0  # As channels that no training image uses.
    head = a_head(bias=False)
    detector = ViM(weight=head.weight)
    detector.fit(head(training), training, labels)
    new = training[:5].clone()
    new[:, 10] = 1
    known, unknown = detector(head(training), training), detector(head(new), new)
    assert known.isfinite().all() and unknown.isfinite().all() and unknown.min() > known.max()


def test_what_is_broken_alone_has_no_score():
    training, labels = clusters()
    head = a_head()
    features = training[:4].clone()
    features[1, 2] = float("nan")
    detector = fitted(training, labels, head)
    assert detector(head(features), features).isnan().tolist() == [False, True, False, False]
    assert detector(torch.empty(0, 5), torch.empty(0, 16)).shape == (0,)


def test_bad_input():
    training, labels = clusters()
    head = a_head()
    with pytest.raises(ValueError, match="vim: d is the dimension of the principal subspace, 0 or more; got -1"):
        ViM(d=-1)
    with pytest.raises(ValueError, match="vim: looks at a linear head: give its weight and bias"):
        ViM().fit(head(training), training, labels)
    with pytest.raises(ValueError, match="vim: fit it on training images first"):
        ViM(weight=head.weight)(head(training), training)
    with pytest.raises(ValueError, match="vim: d = 16 leaves no residual of 16 features; give a smaller d"):
        fitted(training, labels, head, d=16)
    for logits in (head(training).flip(1), head(training)[:, :4]):
        with pytest.raises(ValueError, match="vim looks at a linear head on pooled features, and the logits of this"):
            ViM(weight=head.weight, bias=head.bias).fit(logits, training, labels)
    with pytest.raises(ValueError, match="vim: no training image of class number 4"):
        fitted(training, labels.clamp(max=3), head)
