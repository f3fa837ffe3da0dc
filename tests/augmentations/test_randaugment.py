"""RandAugment against one image at a time; the operations have tests of their own."""

import pytest
import torch

from backmix.augmentations import RandAugment
from backmix.augmentations.randaugment import RandAugmentDraw
from backmix.augmentations.randaugment_ops import MOVING, RANGES, operate
from backmix.data.preprocess import Preprocess

PIXELS = torch.randint(256, (40, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
PREPROCESS = Preprocess(16)
IMAGES = PREPROCESS.normalise(PIXELS)
DIGITS = ("rotate", "translate-x", "translate-y")


def make(seed=0, **options):
    return RandAugment(generator=torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize(
    "options", [{}, {"num_ops": 3, "strength": 15}, {"num_ops": 2, "leave_out": DIGITS}, {"strength": 0}]
)
def test_agrees_with_one_image_at_a_time(options):
    augment = make(**options)
    draw = augment.draw(40)
    found = augment.change(IMAGES, draw)
    for b in range(40):
        image = PIXELS[b : b + 1]
        for n in range(augment.num_ops):
            name = augment.operations[int(draw.operation[n, b])]
            low, high = RANGES[name]
            value = low + (high - low) * augment.strength / 30
            if name in MOVING and draw.negative[n, b]:
                value = -value
            image = operate(name, image, value, draw.place[n, :, b : b + 1])
        assert (found[b] - PREPROCESS.normalise(image)[0]).abs().max() < 1e-5, name


def test_goes_to_8_bits_and_back_by_the_images_own_normalisation():
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    other = Preprocess(16, mean, std)
    augment = make(mean=mean, std=std)
    inverted = RandAugmentDraw(torch.full((1, 40), 2), torch.zeros(1, 40, dtype=torch.bool), torch.zeros(1, 2, 40))
    assert augment.operations[2] == "invert"
    found = augment.change(other.normalise(PIXELS), inverted)
    assert (found - other.normalise(255 - PIXELS)).abs().max() < 1e-5
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_every_operation_and_direction_is_as_likely():
    draw = make(num_ops=2).draw(32_000)
    assert draw.operation.shape == (2, 32_000) and draw.place.shape == (2, 2, 32_000)
    for row in draw.operation:
        assert torch.bincount(row, minlength=16).div(32_000).sub(1 / 16).abs().max() < 0.006
    assert draw.negative.float().mean().item() == pytest.approx(0.5, abs=0.01)
    # With replacement: one in sixteen images gets the same operation twice.
    assert (draw.operation[0] == draw.operation[1]).float().mean().item() == pytest.approx(1 / 16, abs=0.006)


def test_values_of_the_published_settings():
    """N=1, M=6: twenty pixels of the thirty-two of CIFAR-10, absolute."""
    six = make(strength=6)
    assert six.value("translate-x", 32) == pytest.approx(20) and six.value("cutout", 32) == pytest.approx(8)
    assert six.value("rotate", 32) == pytest.approx(6) and six.value("brightness", 32) == pytest.approx(0.46)
    assert six.value("translate-x", 224) == pytest.approx(20)
    assert RandAugment().num_ops == 1 and RandAugment().strength == 6


def test_pixels_scale_with_the_resizing_where_the_native_side_is_given():
    resized = make(strength=6, native_side=64)
    assert resized.value("translate-y", 32) == pytest.approx(10) and resized.value("cutout", 128) == pytest.approx(16)
    assert resized.value("shear-x", 32) == pytest.approx(0.06)


def test_operations_are_left_out_by_name():
    digits = make(leave_out=DIGITS)
    assert len(digits.operations) == 13 and not set(DIGITS) & set(digits.operations)
    assert make(leave_out="rotate").operations == tuple(name for name in RANGES if name != "rotate")


def test_moved_tells_which_images_were():
    augment = make(num_ops=2)
    draw = make(num_ops=2).draw(40)
    assert augment.moved() is None
    augment(IMAGES)
    expected = [any(augment.operations[int(op)] in MOVING for op in draw.operation[:, b]) for b in range(40)]
    assert augment.moved().tolist() == expected and 0 < sum(expected) < 40
    augment.eval()(IMAGES)
    assert augment.moved() is None


def test_images_that_are_not_moved_keep_things_in_place():
    """A bright square in the dark: its place is still what stands out from the rest."""
    still = make(leave_out=[*MOVING, "cutout"])
    images = torch.full((60, 3, 16, 16), -1.5)
    images[:, :, 4:8, 4:8] = 1.5
    shown = still(images)
    assert not still.moved().any()
    inside, outside = shown[:, :, 5:7, 5:7], shown[:, :, 10:, 10:]
    assert (inside.flatten(1).std(1) < 0.1).all() and (outside.flatten(1).std(1) < 0.1).all()
    stands_out = (inside.mean((1, 2, 3)) - outside.mean((1, 2, 3))).abs() > 0.2
    assert stands_out.float().mean() > 0.7


def test_evaluation_mode_passes_images_and_the_generator_decides():
    before = IMAGES.clone()
    assert make().eval()(IMAGES) is IMAGES
    first = make(1)(IMAGES)
    assert torch.equal(first, make(1)(IMAGES)) and not torch.equal(first, make(2)(IMAGES))
    assert torch.equal(IMAGES, before) and make()(IMAGES.bfloat16()).dtype == torch.bfloat16
    labels = torch.arange(40)
    assert make().targets(labels) == ((labels, 1.0),) and not RandAugment.after_crop


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_ops": 0}, "at least 1; got 0"),
        ({"strength": 31}, r"0\.\.30; got 31"),
        ({"strength": -1}, r"0\.\.30; got -1"),
        ({"leave_out": ["flip"]}, "no operation 'flip' to leave out; there are autocontrast, "),
        ({"leave_out": "flip"}, "no operation 'flip'"),
        ({"leave_out": list(RANGES)}, "leaves no operation"),
        ({"native_side": 0}, "at least 1; got 0"),
        ({"std": (1, 1, 0)}, "std above 0"),
        ({"mean": (0.5,)}, "three numbers"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=rf"^randaugment: .*{message}"):
        RandAugment(**options)


def test_half_precision_is_kept_and_changed_as_float32_is():
    half = IMAGES.bfloat16()
    found, exact = make(2, num_ops=2)(half), make(2, num_ops=2)(half.float())
    assert found.dtype == torch.bfloat16 and torch.equal(found, exact.bfloat16())


@pytest.mark.parametrize("images", [torch.zeros(3, 4, 4), torch.zeros(2, 1, 4, 4), PIXELS])
def test_bad_images_are_refused(images):
    with pytest.raises(ValueError, match="^randaugment takes"):
        make()(images)


def test_options_show_when_printed():
    assert "num_ops=1, strength=6.0" in repr(make()) and "'rotate'" not in repr(make(leave_out="rotate"))
