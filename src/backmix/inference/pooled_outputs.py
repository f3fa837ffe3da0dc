"""Outputs of a head for pooled features, in place of the outputs of a whole network for images."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.inference.evaluation import Outputs
from backmix.inference.frozen import PooledFeatures
from backmix.methods import Method, Response


@torch.no_grad()
def respond_to_pooled(head: Method, pooled: Tensor) -> Response:
    """Return the outputs of a method for pooled features (B, C) float32, on the CPU.

    A map of one cell has itself as its mean, so a method that only looks at the mean over cells answers as for the
    whole map.
    """
    head.eval()
    device = next((each.device for each in head.state_dict().values()), pooled.device)
    response = head.respond(lambda maps: maps, pooled.to(device)[:, :, None, None])
    return Response(response.logits.cpu(), response.features.cpu(), response.score.cpu())


def outputs_of(head: Method, found: PooledFeatures, labels: Tensor) -> Outputs:
    """Return the outputs of a method for the pooled features of N images of a source.

    Args:
        head: The method.
        found: The features.
        labels: (len(source),) int64, the known class of each image of the source, -1 for unknown.
    """
    response = respond_to_pooled(head, found.features)
    return Outputs(
        response.logits, response.features, response.score, labels[found.positions], found.positions, found.skipped
    )
