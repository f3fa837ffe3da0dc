"""What estimated masks are worth: known answers, reasons, and examples among good masks."""

import pytest
import torch

from backmix.audit.mask_quality import mask_quality, plausible


def quality(found=10, images=10, share=0.3, right=10, alone=10):
    shares = torch.tensor([share] * found + [0.0] * (images - found))
    order = torch.arange(images)
    return mask_quality(torch.ones(images, dtype=torch.bool), shares, order < right, order < alone)


def test_by_hand():
    good = quality(found=10, right=8, alone=8)
    assert (good.images, good.found, good.share, good.alone) == (10, 1.0, pytest.approx(0.3), 1.0)
    assert good.good and good.why == ""


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"found": 8}, "an object was found in 80 of 100 images only"),
        ({"right": 0, "alone": 0}, "no image was answered right"),
        ({"share": 0.9}, "a mask covers 90 % of the picture"),
        ({"share": 0.01}, "a mask covers 1 % of the picture"),
        ({"right": 10, "alone": 4}, "of 100 images answered right, 40 are right with the masked object alone"),
        ({"images": 0, "found": 0}, "an object was found in 0 of 100"),
    ],
)
def test_each_reason_not_to_judge_a_class(options, why):
    found = quality(**options)
    assert not found.good and why in found.why


def test_images_that_cannot_be_read_do_not_count():
    readable = torch.tensor([True, True, False])
    found = mask_quality(readable, torch.tensor([0.2, 0.4, 0.0]), torch.ones(3).bool(), torch.ones(3).bool())
    assert found.images == 2 and found.found == 1.0


def test_an_example_shows_a_mask_that_can_be_one_object_and_holds_it():
    shares = torch.tensor([0.0, 0.3, 0.3, 0.3, 0.95])
    right = torch.tensor([True, True, True, False, True])
    alone = torch.tensor([True, True, False, False, True])
    assert plausible(shares, right, alone).tolist() == [False, True, False, True, False]
