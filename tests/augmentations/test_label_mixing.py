"""Targets of mixed batches, and that weighting a loss by them is what soft labels give."""

import pytest
import torch
import torch.nn.functional as F

from backmix.augmentations import CutMix, Mixup
from backmix.methods import TrainingBatch

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 1, 0])
MAKERS = pytest.mark.parametrize("maker", [Mixup, CutMix])


def make(maker, **options):
    return maker(**{"probability": 1.0, "generator": torch.Generator().manual_seed(1), **options})


@MAKERS
def test_targets_are_own_and_partners_labels_by_share(maker):
    draw = make(maker).draw(6, *(8, 8)[: 0 if maker is Mixup else 2])
    mix = make(maker)
    mix(IMAGES)
    (own, share), (partners, rest) = mix.targets(LABELS)
    assert torch.equal(own, LABELS) and torch.equal(partners, LABELS[draw.partner])
    assert share == draw.share and share + rest == pytest.approx(1) and 0 <= share <= 1
    assert sorted(draw.partner.tolist()) == list(range(6))


@MAKERS
@pytest.mark.parametrize("seed", range(5))
def test_weighted_cross_entropy_is_cross_entropy_with_soft_labels(maker, seed):
    mix = make(maker, generator=torch.Generator().manual_seed(seed))
    mix(IMAGES)
    targets = mix.targets(LABELS)
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))
    soft = sum(weight * F.one_hot(labels, 4).float() for labels, weight in targets)
    batch = TrainingBatch(IMAGES, LABELS, targets)
    assert batch.weighted(lambda labels: F.cross_entropy(logits, labels)).item() == pytest.approx(
        F.cross_entropy(logits, soft).item(), abs=1e-6
    )


@MAKERS
def test_a_batch_that_is_not_mixed_keeps_its_labels(maker):
    mix = make(maker, probability=0.0)
    shown = mix(IMAGES)
    assert torch.equal(shown, IMAGES) and shown is not IMAGES
    assert mix.targets(LABELS) == ((LABELS, 1.0),)


@MAKERS
def test_evaluation_mode_passes_images_and_forgets_the_batch_before(maker):
    mix = make(maker)
    mix(IMAGES)
    assert len(mix.targets(LABELS)) == 2
    assert mix.eval()(IMAGES) is IMAGES
    assert len(mix.targets(LABELS)) == 1


@MAKERS
def test_probability_is_the_share_of_batches(maker):
    mix = make(maker, probability=0.3)
    mixed = sum(mix(IMAGES[:2]) is not None and len(mix.targets(LABELS[:2])) == 2 for _ in range(2000))
    assert mixed / 2000 == pytest.approx(0.3, abs=0.04)


@MAKERS
def test_follows_the_generator_and_leaves_its_images_alone(maker):
    before = IMAGES.clone()
    last = IMAGES.contiguous(memory_format=torch.channels_last)
    first, second = make(maker)(IMAGES), make(maker)(last)
    assert torch.equal(first, second) and torch.equal(IMAGES, before) and not torch.equal(first, before)
    assert second.is_contiguous(memory_format=torch.channels_last)
    mix = make(maker)
    assert not torch.equal(mix(IMAGES), mix(IMAGES))


@MAKERS
def test_a_batch_whose_partners_outweigh_it_tells_the_bank_nothing(maker):
    """Half of the batches at alpha 1, or fewer where boxes are cut off: the smaller half of the shares."""
    mix, seen = make(maker), set()
    assert mix.moved() is None
    for _ in range(60):
        mix(IMAGES)
        share = mix.targets(LABELS)[0][1]
        seen.add(share < 0.5)
        moved = mix.moved()
        assert (moved is None) == (share >= 0.5)
        assert moved is None or (moved.dtype == torch.bool and moved.tolist() == [True] * 6)
    assert seen == {True, False}
    assert mix.eval()(IMAGES) is IMAGES and mix.moved() is None


@MAKERS
@pytest.mark.parametrize(("share", "fed"), [(0.5, True), (0.49, False), (0.0, False), (1.0, True)])
def test_exactly_half_is_enough_to_be_fed(maker, share, fed):
    mix = make(maker)
    mix._last = (torch.arange(6).roll(1), share)
    assert (mix.moved() is None) == fed


@MAKERS
def test_labels_of_another_batch_are_refused(maker):
    mix = make(maker)
    mix(IMAGES)
    with pytest.raises(ValueError, match=rf"^{mix.name}: targets belong to the batch changed last, of 6.*\(4,\)"):
        mix.targets(LABELS[:4])


@MAKERS
@pytest.mark.parametrize(
    ("options", "message"), [({"alpha": 0}, "alpha is above 0; got 0"), ({"probability": 1.5}, r"0\.\.1; got 1.5")]
)
def test_bad_options_are_refused(maker, options, message):
    with pytest.raises(ValueError, match=rf"^{maker.name}: .*{message}"):
        maker(**options)


@MAKERS
def test_half_precision_is_kept_and_mixed_as_float32_is(maker):
    half = IMAGES.bfloat16()
    found, exact = make(maker)(half), make(maker)(half.float())
    assert found.dtype == torch.bfloat16 and found.shape == IMAGES.shape and not torch.equal(found, half)
    assert (found.float() - exact).abs().max() <= 0.02


@MAKERS
@pytest.mark.parametrize("images", [torch.zeros(3, 4, 4), torch.zeros(2, 3, 4, 4, dtype=torch.uint8)])
def test_bad_images_are_refused(maker, images):
    with pytest.raises(ValueError, match=rf"^{maker.name} takes normalised images \(B, C, H, W\) float; got"):
        make(maker)(images)


@MAKERS
def test_options_show_when_printed_and_copies_draw_alike(maker):
    import copy

    mix = make(maker, alpha=0.7)
    assert "alpha=0.7" in repr(mix) and "probability=1.0" in repr(mix)
    assert torch.equal(copy.deepcopy(mix)(IMAGES), mix(IMAGES)) and mix.state_dict() == {}
