"""The mean of p-values: its order, its precision, its name, and what a run keeps for it."""

import math

import pytest
import torch
from exported_files import calibrated, made_trial
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from backmix.data.preprocess import Preprocess
from backmix.detectors import OURS, Combined, Detector, MaxLogit, ShrunkMahalanobis, check_name, make_detector
from backmix.detectors.combined import combine
from backmix.detectors.fitting import ready_detector
from backmix.detectors.reference_scores import ReferenceScores
from backmix.detectors.training_outputs import TrainingOutputs
from backmix.export.export import SUFFIXES, export
from backmix.methods import METHODS
from backmix.methods.network import Network

NAME = "max_logit+shrunk_mahalanobis"


class Column(Detector):
    """The score is a column of the features."""

    def __init__(self, column):
        self.column = column

    def __call__(self, logits, features):
        return features[:, self.column].double()


def references(count=50, seed=0):
    drawn = torch.randn(2, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {"a": drawn[0], "b": 100 + 30 * drawn[1]}


def of_columns(held):
    return Combined({"a": Column(0), "b": Column(1)}, held)


def test_known_answers():
    detector = of_columns({"a": torch.tensor([4.0, 1.0, 2.0]).double(), "b": torch.tensor([10.0]).double()})
    assert detector.name == "a+b"
    scores = detector(None, torch.tensor([[2.0, 10.0], [4.0, 10.0], [1.0, 11.0]]))
    assert torch.exp(-scores).tolist() == pytest.approx([1 / 2, (1 / 4 + 1 / 2) / 2, (3 / 4 + math.exp(-1) / 2) / 2])


def test_agrees_with_the_mean_of_plain_p_values_to_a_step():
    held = references(400)
    test = torch.stack(list(references(60, seed=1).values()), 1)
    found = torch.exp(-of_columns(held)(None, test))
    plain = [
        sum((sum(r >= s for r in held[name].tolist()) + 1) / 401 for name, s in zip("ab", row)) / 2
        for row in test.tolist()
    ]
    torch.testing.assert_close(found, torch.tensor(plain).double(), rtol=0, atol=1 / 401 + 1e-9)


@settings(deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(1, 60),
    st.lists(st.tuples(st.floats(-50, 50), st.floats(-900, 900)), min_size=1, max_size=10),
    st.sampled_from([0, 1]),
    st.floats(0, 100),
)
def test_it_never_falls_when_a_member_rises(seed, count, rows, column, rise):
    detector = of_columns(references(count, seed))
    before = torch.tensor(rows, dtype=torch.float64)
    after = before.clone()
    after[:, column] += rise
    low, high = detector(None, before), detector(None, after)
    assert (high - low >= -1e-13 * high).all() and (low >= -1e-15).all()


def test_unknowns_far_out_do_not_tie():
    detector = of_columns(references(200))
    for power in (1, 2, 4, 8, 12):
        steps = 1 + torch.arange(100).double() / 100
        both = torch.stack([10.0**power * steps, 30 * 10.0**power * steps], 1)
        assert (detector(None, both).diff() > 0).all() and detector(None, both).isfinite().all()
    # One member alone keeps an order among what the other one finds ordinary.
    one = torch.stack([3 + torch.arange(30).double() / 10, torch.full((30,), 100.0).double()], 1)
    assert (detector(None, one).diff() > 0).all()


def test_the_order_of_members_and_of_references_does_not_count():
    held = references()
    test = torch.stack(list(references(20, seed=1).values()), 1)
    scores = of_columns(held)(None, test)
    mixed = {name: own[torch.randperm(50, generator=torch.Generator().manual_seed(1))] for name, own in held.items()}
    torch.testing.assert_close(
        Combined({"b": Column(1), "a": Column(0)}, mixed)(None, test), scores, rtol=1e-12, atol=0
    )
    assert torch.equal(of_columns(held)(None, test), scores)
    own = [ReferenceScores.of(held["a"]), ReferenceScores.of(held["b"])]
    assert torch.equal(combine([test[:, 0], test[:, 1]], own), scores)


def test_a_member_without_a_score_leaves_none():
    test = torch.tensor([[math.nan, 100.0], [0.0, 100.0], [math.inf, math.inf]])
    scores = of_columns(references())(None, test)
    assert scores.isnan().tolist() == [True, False, False] and scores[2] == math.inf
    assert of_columns(references())(None, torch.empty(0, 2)).shape == (0,)


def test_bad_combinations():
    with pytest.raises(ValueError, match="a combination has two or more detectors; got a"):
        Combined({"a": Column(0)})
    looking = Column(0)
    looking.needs_images = True
    with pytest.raises(ValueError, match=r"b\+a: a looks at images"):
        Combined({"b": Column(1), "a": looking})
    with pytest.raises(ValueError, match=r"a\+b: give it reference scores first"):
        Combined({"a": Column(0), "b": Column(1)})(None, torch.rand(2, 2))
    with pytest.raises(ValueError, match=r"a\+b: the run kept no reference scores for b; choose another detector or"):
        of_columns({"a": torch.rand(3)})
    with pytest.raises(ValueError, match=r"a\+b: b: 1 of 2 reference scores are not finite"):
        of_columns({"a": torch.rand(3), "b": torch.tensor([1.0, math.nan])})


def test_names():
    for first in OURS:
        for second in OURS:
            if first != second:
                check_name(f"{first}+{second}")
    detector = make_detector(NAME)
    assert isinstance(detector, Combined) and detector.name == NAME and detector.needs_fitting
    assert [type(member) for member in detector.members.values()] == [MaxLogit, ShrunkMahalanobis]
    with pytest.raises(ValueError, match=r"msp\+msp combines a detector with itself"):
        check_name("msp+msp")
    for name in ("msp+knn", "method+msp", "msp+", "+", "msp+energy+openmax", "msp + energy"):
        with pytest.raises(ValueError, match="no detector .*and two of msp, max_logit, .* with a \\+ between them"):
            check_name(name)
    with pytest.raises(ValueError, match="method is the method's own score"):
        make_detector("method")


def kept(count=60, held=("max_logit", "shrunk_mahalanobis")):
    random = torch.Generator().manual_seed(0)
    features, labels = torch.randn(count, 8, generator=random), torch.arange(count) % 3
    logits = torch.randn(count, 3, generator=random)
    scores = {name: torch.rand(20 + n, generator=random).double() for n, name in enumerate(held)}
    return TrainingOutputs.of(logits, features, labels, [torch.rand(count, 4)], scores)


def test_a_ready_one_is_fitted_on_what_was_kept():
    network = Network(nn.Conv2d(3, 8, 4), METHODS["softmax"](8, 3)).eval()
    preprocess = Preprocess(8)
    outputs = kept()
    detector = ready_detector(NAME, network, preprocess, lambda: outputs)
    features, logits = torch.randn(5, 8), torch.randn(5, 3)
    alone = ready_detector("shrunk_mahalanobis", network, preprocess, lambda: outputs)
    own = [ReferenceScores.of(outputs.references[name]) for name in NAME.split("+")]
    expected = combine([MaxLogit()(logits), alone(logits, features)], own)
    assert torch.equal(detector(logits, features), expected)
    assert not ready_detector(NAME, network, preprocess, None).references
    with pytest.raises(ValueError, match=r"is fitted on training images, of which nothing was kept"):
        ready_detector(NAME, network, preprocess, lambda: None)
    with pytest.raises(ValueError, match=r"the run kept no reference scores for shrunk_mahalanobis; choose another"):
        ready_detector(NAME, network, preprocess, lambda: kept(held=("max_logit",)))


def test_fit_fits_the_members_alone():
    outputs = kept()
    detector = Combined({"max_logit": MaxLogit(), "shrunk_mahalanobis": ShrunkMahalanobis()}, outputs.references)
    before = detector.references
    detector.fit(outputs.logits, outputs.features.float(), outputs.labels)
    assert detector.references == before
    assert detector(outputs.logits, outputs.features).isfinite().all()


def test_references_come_back_sorted_as_they_were_written():
    outputs = kept()
    names = ["logits", "features", "labels", "stage_0", "reference_max_logit", "reference_shrunk_mahalanobis"]
    assert list(outputs.tensors()) == names
    back = TrainingOutputs.from_tensors(dict(sorted(outputs.tensors().items(), reverse=True)))
    assert sorted(back.references) == ["max_logit", "shrunk_mahalanobis"] and len(back.stages) == 1
    for name, scores in outputs.references.items():
        assert torch.equal(back.references[name], scores) and (scores.diff() >= 0).all()
    older = {name: value for name, value in outputs.tensors().items() if not name.startswith("reference_")}
    assert TrainingOutputs.from_tensors(older).references == {}
    older["stage_1"] = older.pop("stage_0")
    with pytest.raises(TypeError, match="no stage_0"):
        TrainingOutputs.from_tensors(older)


@pytest.mark.slow
@pytest.mark.parametrize("form", SUFFIXES)
@pytest.mark.parametrize("name", [NAME, "cosine_knn+msp"])
def test_it_is_exported(tmp_path, form, name):
    random = torch.Generator().manual_seed(0)
    scores = {member: torch.rand(30, generator=random).double() * 30 for member in name.split("+")}
    classifier = calibrated(detector=name, references=scores)
    agreement = export(classifier, tmp_path / f"model{SUFFIXES[form]}", form=form, trial=made_trial(16))
    assert agreement.score < 1e-4 and agreement.same_decisions >= 16 - agreement.close
