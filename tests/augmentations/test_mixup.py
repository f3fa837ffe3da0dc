"""Mixup against a loop over pixels; what it shares with CutMix is in test_label_mixing."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.augmentations import Mixup
from backmix.augmentations.mixup import MixupDraw


@given(st.integers(1, 5), st.floats(0, 1), st.integers(0, 2**16))
@settings(max_examples=30)
def test_agrees_with_a_loop(batch, share, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 2, 3, 4, generator=generator)
    partner = torch.randperm(batch, generator=generator)
    mixed = Mixup().change(images, MixupDraw(partner, share))
    for b in range(batch):
        other = images[int(partner[b])]
        for own, theirs, found in zip(images[b].flatten(), other.flatten(), mixed[b].flatten()):
            assert abs(share * float(own) + (1 - share) * float(theirs) - float(found)) < 1e-5


def test_labels_go_by_what_is_seen():
    """Images that show nothing but their label: what is left of it is its weight."""
    mix = Mixup(generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        labels = torch.arange(6)
        images = labels.float()[:, None, None, None].expand(6, 3, 4, 4)
        (own, share), (partners, rest) = (mixed := mix(images), mix.targets(labels))[1]
        assert torch.allclose(mixed[:, 0, 0, 0], share * own + rest * partners, atol=1e-5)


def test_with_large_alpha_all_is_halved():
    draw = Mixup(alpha=1e6, generator=torch.Generator().manual_seed(0)).draw(4)
    assert abs(draw.share - 0.5) < 0.01


def test_shares_are_uniform_at_alpha_one():
    mix = Mixup(generator=torch.Generator().manual_seed(0))
    shares = torch.tensor([mix.draw(1).share for _ in range(3000)])
    assert torch.histc(shares, 4, 0, 1).div(3000).sub(0.25).abs().max() < 0.03
