"""What a source of outliers is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backmix.mixing import BackMix, View


class Outliers(nn.Module):
    """Images of no known class, a batch of them for every training batch.

    Args:
        generator: source of randomness; torch's global one when None.

    Attributes:
        backmix: the BackMix whose foreground bank this source reads, so that the training loop feeds it; None where it
            reads none.
    """

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.generator = generator
        self.backmix: BackMix | None = None

    def forward(
        self,
        images: Tensor,
        index: Tensor,
        *,
        labels: Tensor | None = None,
        masks: Tensor | None = None,
        view: View | None = None,
    ) -> Tensor:
        """Outliers for a batch: images (B, C, H, W) normalised and not mixed, ... -> (O, C, H, W), normalised alike."""
        raise NotImplementedError

    def check_bank(self, mix: BackMix | None) -> None:
        """Refuse an augmentation's BackMix whose bank would starve: of two banks the training loop feeds this one's.

        Args:
            mix: the BackMix of the augmentation beside these outliers; None: it has none.

        Raises:
            ValueError: when these outliers have another BackMix than that, and that one reads its bank.
        """
        if self.backmix is None or mix is None or mix is self.backmix or mix.foreground not in ("free", "clean"):
            return
        raise ValueError(
            "outliers and augmentation have a BackMix each, and the bank of the augmentation's would never be fed; "
            "give both the same one, as in Backgrounds(mix)"
        )
