"""Answers made by hand, for tests of what a report makes of them."""

from __future__ import annotations

import torch
from PIL import Image

from backmix.report.tested import Tested, Thresholds
from backmix.threshold.conformal import ConformalThreshold


class Coloured:
    """A source of plain pictures; image i is grey of brightness i."""

    def __init__(self, count: int) -> None:
        self.classes = ["any"]
        self.labels = torch.zeros(count, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, i: int) -> Image.Image:
        return Image.new("RGB", (40, 40), (i % 256,) * 3)

    def read_mask(self, i: int) -> None:
        return None

    def name(self, i: int) -> str:
        return f"image {i}"


def answers(rows, classes=("cat", "dog"), p_values=True, unreadable=()):
    """Tested images from rows (truth, likeliest class, accepted, score)."""
    known = {name: number for number, name in enumerate(classes)}
    scores = torch.tensor([float(row[3]) for row in rows], dtype=torch.float64)
    return Tested(
        list(classes),
        torch.tensor([known.get(row[0], -1) for row in rows], dtype=torch.int64),
        [row[0] for row in rows],
        torch.tensor([known[row[1]] for row in rows], dtype=torch.int64),
        torch.full((len(rows),), 0.5),
        scores,
        (1 - scores).clamp(0.01, 1) if p_values else None,
        torch.tensor([bool(row[2]) for row in rows], dtype=torch.bool),
        [Coloured(len(rows))],
        torch.tensor([[0, number] for number in range(len(rows))]).reshape(-1, 2),
        list(unreadable),
    )


def thresholds(held_out=100, accept=0.95, by_class=()):
    """Thresholds fitted on scores 0, 0.01, ...; None before calibration."""
    overall = ConformalThreshold.fit(torch.arange(held_out).double() / 100, accept) if held_out else None
    return Thresholds(overall, list(by_class), accept, "max_logit")
