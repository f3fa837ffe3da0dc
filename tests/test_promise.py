"""Promised acceptance is observed: on the embedded set, over 20 random divisions of images not trained on."""

import pytest
import torch

from backmix.classifier import OpenSetClassifier
from backmix.data import DigitsOnTextures
from backmix.fit.training import fit
from backmix.threshold.by_class import decide, fit_class_thresholds
from backmix.threshold.conformal import ConformalThreshold
from backmix.train.recipe import TrainOptions

SPLITS, ACCEPT = 20, 0.95


@pytest.fixture(scope="module")
def scored():
    """Scores and answers of some 670 known digits, test and validation together, by a network that never saw them."""
    classifier = OpenSetClassifier(list("012345"), model="compact-s", precision="fp32")
    fit(classifier, DigitsOnTextures("train", prior=0.8), options=TrainOptions(epochs=2, batch_size=32, lr=0.05))
    parts = []
    for split in ("val", "test"):
        source = DigitsOnTextures(split, prior=0.8)
        rows = (classifier.labels_for(source) >= 0).nonzero().flatten().tolist()
        outputs, scores, _ = classifier.scores(source, ["max_logit"], positions=rows)
        parts.append((scores["max_logit"], outputs.logits.argmax(1)))
    scores, predicted = (torch.cat(of) for of in zip(*parts, strict=True))
    return scores, predicted


@pytest.mark.parametrize("by_class", [False, True])
def test_promised_acceptance_is_observed_over_20_random_splits(scored, by_class):
    scores, predicted = scored
    half = len(scores) // 2
    shares = []
    for seed in range(SPLITS):
        order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
        held, fresh = order[:half], order[half:]
        overall = ConformalThreshold.fit(scores[held], ACCEPT)
        own = fit_class_thresholds(scores[held], predicted[held], 6, ACCEPT) if by_class else None
        shares.append(float(decide(scores[fresh], predicted[fresh], overall, own)[0].double().mean()))
    # Each division by itself: held-out and new images both scatter. Six thresholds promise a little more than asked.
    deviation = (ACCEPT * (1 - ACCEPT) * (1 / half + 1 / (len(scores) - half))) ** 0.5
    groups = 6 if by_class else 1
    most = ACCEPT + groups / (half + groups)
    assert all(ACCEPT - 3.5 * deviation <= share <= most + 3.5 * deviation for share in shares), shares
    # Together: their mean scatters less, though not as little as that of 20 independent sets would.
    mean = sum(shares) / SPLITS
    assert ACCEPT - deviation <= mean <= most + deviation, mean
