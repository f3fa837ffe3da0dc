"""The base class of sources of outliers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backmix.mixing import BackMix, View


class Outliers(nn.Module):
    """The base class of sources of outliers, which return images of no known class for every training batch.

    Args:
        generator: The source of randomness. None: torch's global generator.

    Attributes:
        backmix: The BackMix whose foreground bank this source reads, so that the training loop feeds the bank. None if
            it reads no bank.
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
        """Return the outliers for a batch.

        Args:
            images: The images, (B, C, H, W) float, normalised and not mixed.
            index: The position of each image in the training set, (B,) int64.
            labels: The class of each image, (B,) int64.
            masks: The true masks in the frame of `images`, (B, H, W) bool, true on the object.
            view: The part of the whole images that `images` show. None: all of it.

        Returns:
            The outliers, (O, C, H, W), with the same normalisation.
        """
        raise NotImplementedError

    def check_bank(self, mix: BackMix | None) -> None:
        """Raise ValueError if the bank of the augmentation's BackMix would never be fed.

        If there are two banks, the training loop feeds the bank of the outliers.

        Args:
            mix: The BackMix of the augmentation beside these outliers. None: it has none.

        Raises:
            ValueError: If the outliers have another BackMix than `mix`, and `mix` reads its bank.
        """
        if self.backmix is None or mix is None or mix is self.backmix or mix.foreground not in ("free", "clean"):
            return
        raise ValueError(
            "outliers and augmentation have a BackMix each, and the bank of the augmentation's would never be fed; "
            "give both the same one, as in Backgrounds(mix)"
        )
