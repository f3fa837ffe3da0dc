"""Each set against a loop over pixels, from the same donors."""

import numpy as np
import pytest
import torch
from audit_pictures import Made

from backmix.audit.counterfactuals import GREY, SETS, counterfactuals, make_set, paste
from backmix.audit.filling import edge_width, soft_edge, without_object
from backmix.audit.frame import Frame


@pytest.fixture(scope="module")
def batch():
    source, frame = Made(3), Frame(32)
    images = torch.stack([frame.pixels(source.read(i)) for i in range(len(source))])
    masks = torch.stack([frame.mask(source.read_mask(i)) for i in range(len(source))])
    return images, masks, source.labels


def make(batch, seed=0):
    return counterfactuals(*batch, torch.Generator().manual_seed(seed))


def slow_paste(image, mask, under):
    alpha = soft_edge(mask[None], edge_width(32))[0].numpy()
    image, under = image.numpy().astype(np.float32), under.numpy().astype(np.float32)
    result = np.empty((3, 32, 32), dtype=np.uint8)
    for c, y, x in np.ndindex(3, 32, 32):
        over, below = image[c, y, x], under[c, y, x]
        result[c, y, x] = np.rint(below + (over - below) * alpha[y, x])
    return torch.from_numpy(result)


def test_every_set_is_what_loops_give(batch):
    images, masks, labels = batch
    made = make(batch)
    assert tuple(made) == SETS
    grey = torch.full((3, 32, 32), GREY, dtype=torch.uint8)
    own = [without_object(images[i : i + 1], masks[i : i + 1])[0] for i in range(len(images))]
    assert torch.equal(made["original"].images, images)
    for i in (0, 4, 8):
        assert torch.equal(made["only-background"].images[i], own[i])
        assert torch.equal(made["repasted"].images[i], slow_paste(images[i], masks[i], own[i]))
        assert torch.equal(made["only-foreground"].images[i], slow_paste(images[i], masks[i], grey))
        for name in ("mixed-same", "mixed-random", "mixed-next"):
            row = made[name].rows.tolist().index(i)
            donor = int(made[name].donors[row])
            assert donor != i and torch.equal(made[name].images[row], slow_paste(images[i], masks[i], own[donor]))
    assert all(labels[made["mixed-same"].donors] == labels)
    assert all(labels[made["mixed-next"].donors] == (labels + 1) % 3)


def test_the_object_is_whole_wherever_it_stands(batch):
    images, masks, _ = batch
    for name, (rows, made, _) in make(batch).items():
        if name != "only-background":
            inside = masks[rows][:, None].expand_as(made)
            assert torch.equal(made[inside], images[rows][inside])


def test_the_generator_decides_donors_and_nothing_else(batch):
    first, again, other = make(batch, 1), make(batch, 1), make(batch, 2)
    for name in SETS:
        assert torch.equal(first[name].images, again[name].images)
        assert torch.equal(first[name].donors, again[name].donors)
    assert not torch.equal(first["mixed-random"].donors, other["mixed-random"].donors)
    assert torch.equal(first["repasted"].images, other["repasted"].images)


def test_an_image_without_a_donor_is_left_out_of_that_set_alone(batch):
    images, masks, _ = batch
    made = counterfactuals(images[:3], masks[:3], torch.tensor([0, 0, 1]), torch.Generator().manual_seed(0))
    assert made["mixed-same"].rows.tolist() == [0, 1]
    assert made["mixed-random"].rows.tolist() == made["repasted"].rows.tolist() == [0, 1, 2]


def test_what_does_not_fit_is_refused(batch):
    images, masks, labels = batch
    random = torch.Generator()
    with pytest.raises(ValueError, match="uint8; got"):
        counterfactuals(images.float(), masks, labels, random)
    with pytest.raises(ValueError, match="masks must be"):
        counterfactuals(images, masks[:, :16], labels, random)
    with pytest.raises(ValueError, match="one for each image"):
        counterfactuals(images, masks, labels[:2], random)
    for wrong in (torch.zeros_like(masks), torch.ones_like(masks)):
        with pytest.raises(ValueError, match="empty or covers everything"):
            counterfactuals(images, wrong, labels, random)
    with pytest.raises(ValueError, match="mixed-same needs the backgrounds"):
        make_set("mixed-same", images, masks, images)


def test_pasting_over_itself_changes_nothing(batch):
    images, masks, _ = batch
    assert torch.equal(paste(images, masks, images), images)
