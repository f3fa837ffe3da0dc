"""Rotation self-supervision: predict the class of an image and the number of quarter turns of a rotated copy."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backmix.methods.base import Images2Features, Response, TrainingBatch
from backmix.methods.outlier_exposure import cross_entropy_from_uniform
from backmix.methods.pooling import pooled_linear
from backmix.methods.softmax import Softmax
from backmix.mixing.checks import check

TURNS = 4


class Rotation(Softmax):
    """Softmax on upright images, plus a second head that predicts the rotation of four rotated copies of each image.

    Source: Hendrycks, Mazeika, Kadavath and Song, "Using self-supervised learning can improve model robustness and
    uncertainty", NeurIPS 2019, multi-class out-of-distribution detection. A training step runs four times as many
    images through the network, and so does an answer.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        weight: The weight of the cross-entropy of the rotations, 0 or more (paper: 0.5; the released run effectively
            uses 1, a weight of 3 divided by its three kinds of transformations).
        bias: Whether the heads have a bias.

    Raises:
        ValueError: If there are fewer than two classes, or the weight is below 0.
    """

    name: ClassVar[str] = "rotation"
    on_pooled_features: ClassVar[bool] = False

    def __init__(self, num_features: int, num_classes: int, *, weight: float = 0.5, bias: bool = True) -> None:
        super().__init__(num_features, num_classes, bias=bias)
        check(0 <= weight < math.inf, f"{self.name}: weight is 0 or more; got {weight}")
        self.weight = weight
        self.rotation_head = nn.Linear(num_features, TURNS, bias=bias)

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the feature map (B, C, h, w) of the upright images, and the loss of classes and rotations.

        All four copies go through the backbone together, so that batch norm uses all of them.
        """
        images = torch.cat([self.rotated(batch.images, turns) for turns in range(TURNS)])
        features = backbone(images)
        upright = features[: len(batch.images)]
        loss = batch.weighted(lambda labels: self.loss(upright, labels))
        turns = torch.arange(TURNS, device=features.device).repeat_interleave(len(batch.images))
        return upright, loss + self.weight * self.rotation_losses(features, turns).mean()

    def respond(self, backbone: Images2Features, images: Tensor) -> Response:
        """Return the outputs for images (B, 3, H, W). The score uses all four rotations.

        The score is `-(KL(uniform || p) - mean over rotations r of -log q_r(image rotated by r))`, where p are the
        class probabilities and q the rotation probabilities. As in the release, the two terms are not scaled, although
        their ranges differ. The rotations go through the backbone one after the other, B images at a time.
        """
        features = backbone(self.rotated(images, 0))
        losses = self._losses_of(features, 0)
        for turns in range(1, TURNS):
            losses = losses + self._losses_of(backbone(self.rotated(images, turns)), turns)
        score = self.unknown_score(features) + losses / TURNS
        return Response(self.logits(features).float(), self.pooled(features), score)

    def rotated(self, images: Tensor, turns: int) -> Tensor:
        """Return images (B, C, S, S) rotated counter-clockwise by a number of quarter turns.

        Raises:
            ValueError: If the images are not square, because a quarter turn would change their shape.
        """
        if images.ndim != 4 or images.shape[2] != images.shape[3]:
            raise ValueError(
                f"{self.name} takes square images (B, C, S, S), which keep their shape when rotated; "
                f"got {tuple(images.shape)}. Crop them to squares."
            )
        return torch.rot90(images, turns, (2, 3))

    def rotation_losses(self, features: Tensor, turns: Tensor) -> Tensor:
        """Return `-log q_r` of each image: features (B, C, h, w), quarter turns r (B,) int64 -> (B,) float32."""
        self.check_features(features)
        return F.cross_entropy(pooled_linear(self.rotation_head, features), turns, reduction="none")

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return the score of the upright image, `-KL(uniform || p)`: (B, C, h, w) -> (B,) float32, 0 or less.

        Higher = more unknown. This is one of the two terms of the method's score; `respond` uses both.
        """
        self.check_features(features)
        return math.log(self.num_classes) - cross_entropy_from_uniform(self.logits(features))

    def _losses_of(self, features: Tensor, turns: int) -> Tensor:
        return self.rotation_losses(features, torch.full((len(features),), turns, device=features.device))
