"""Two or more unknown scores in one: the mean of their p-values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from backmix.detectors.base import Detector
from backmix.detectors.reference_scores import ReferenceScores

if TYPE_CHECKING:
    from backmix.data.preprocess import Preprocess
    from backmix.detectors.training_outputs import TrainingOutputs
    from backmix.methods import Method

JOIN = "+"  # Between the names of the members, as in max_logit+shrunk_mahalanobis.


class Combined(Detector):
    """Minus the log of the mean of the members' p-values, in nats, 0 or more.

    The p-value of an image for a member is the share of known images with a score as high, see `ReferenceScores`. The
    mean of p-values is one of the merging functions of Vovk and Wang, "Combining p-values via averaging", Biometrika
    2020: an image is unknown if the members agree on it. Only the order of images counts here, because the threshold
    comes from held-out images as for every score, so the mean is not multiplied by 2 as it is there for a test.

    The log has the order of the mean itself and keeps its precision: it is computed from the logs of the p-values,
    which fall in proportion to a score above all references, where the p-value itself would round to 0 and unknown
    images would tie.

    Args:
        members: The members by name, two or more. They look at logits or pooled features.
        references: The unknown scores (N,) by member, of known images that this member was not fitted on. None:
            `fit_kept` takes those that were kept. N may differ between members.

    Attributes:
        name: The names of the members, joined by "+".
        references: The reference scores by member; empty before they are given.

    Raises:
        ValueError: If there are fewer than two members, one of them needs images, or references are missing or not
            finite.
    """

    needs_fitting = True

    def __init__(self, members: Mapping[str, Detector], references: Mapping[str, Tensor] | None = None) -> None:
        self.name = JOIN.join(members)
        if len(members) < 2:
            raise ValueError(f"a combination has two or more detectors; got {self.name or 'none'}")
        looking = [name for name, member in members.items() if member.needs_images]
        if looking:
            raise ValueError(f"{self.name}: {looking[0]} looks at images; combine scores of logits and pooled features")
        self.members = dict(members)
        self.references: dict[str, ReferenceScores] = {}
        if references is not None:
            self.refer(references)

    def attach(self, method: Method, backbone: nn.Module, preprocess: Preprocess) -> None:
        """Let each member take what it needs of the network.

        Raises:
            ValueError: If the network does not have the part that a member needs.
        """
        for member in self.members.values():
            member.attach(method, backbone, preprocess)

    def refer(self, references: Mapping[str, Tensor]) -> None:
        """Take the reference scores (N,) of each member. Other names are not used.

        Raises:
            ValueError: If a member has none, or a score is not finite.
        """
        found: dict[str, ReferenceScores] = {}
        for name in self.members:
            if name not in references:
                raise ValueError(
                    f"{self.name}: the run kept no reference scores for {name}; choose another detector or train again"
                )
            try:
                found[name] = ReferenceScores.of(references[name])
            except ValueError as error:
                raise ValueError(f"{self.name}: {name}: {error}") from error
        self.references = found

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Fit the members on known training images: logits (N, K), pooled features (N, C), labels (N,) int64.

        This does not change the references, which come from other images; see `refer`.

        Raises:
            ValueError: If a member cannot be fitted on them.
        """
        for member in self.members.values():
            if member.needs_fitting:
                member.fit(logits, features, labels)

    def fit_kept(self, kept: TrainingOutputs) -> None:
        """Fit the members on the kept outputs of known training images, and take the kept references.

        Raises:
            ValueError: If a member cannot be fitted on them, or no reference scores were kept for it.
        """
        self.refer(kept.references)
        for member in self.members.values():
            if member.needs_fitting:
                member.fit_kept(kept)

    def __call__(self, logits: Tensor, features: Tensor) -> Tensor:
        """Return unknown scores: logits (B, K) and pooled features (B, C) -> (B,) float64.

        The score is NaN if that of a member is.

        Raises:
            ValueError: If there are no references yet, or a member cannot score the inputs.
        """
        if not self.references:
            raise ValueError(f"{self.name}: give it reference scores first")
        scores = [member(logits, features) for member in self.members.values()]
        return combine(scores, [self.references[name] for name in self.members])


def combine(scores: Sequence[Tensor], references: Sequence[ReferenceScores]) -> Tensor:
    """Return minus the log of the mean of p-values, in nats: scores (B,) of each of M detectors -> (B,).

    It never falls when one of the scores rises.

    Args:
        scores: The unknown scores of the same images by each detector.
        references: The reference scores of each detector, in the same order.
    """
    logs = torch.stack([own.log_p(values) for values, own in zip(scores, references, strict=True)])  # (M, B)
    return math.log(len(scores)) - logs.logsumexp(0)
