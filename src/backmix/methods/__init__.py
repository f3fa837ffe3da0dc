"""Training objectives, each with its logits, its unknown score and its evidence map.

A method is a `Method` made from (num_features, num_classes, **options). To add one, write its file and name it in
`METHODS`.
"""

from __future__ import annotations

from backmix.methods.base import Method, Response, TrainingBatch
from backmix.methods.softmax import Softmax

METHODS: dict[str, type[Method]] = {"softmax": Softmax}

__all__ = ["METHODS", "Method", "Response", "Softmax", "TrainingBatch"]
