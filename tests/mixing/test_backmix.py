import copy
import io
import pickle
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from backmix.mixing import BackMix, FlipCrop, View, class_activation_map
from backmix.mixing.view import to_view

# ------------------------------------------------------------------------------------------------ slow reference


def slow_cells(mix, maps, race):
    """Foreground cells of one map: the `count` highest, the first in reading order on a tie."""
    grid = maps.shape[0]
    count = round(mix.foreground_share * grid * grid - 0.5 + 1e-6)
    scores = maps.flatten().tolist()
    if race is not None:
        scores = (maps.clamp_min(1e-6) / race).flatten().tolist()
    order = sorted(range(grid * grid), key=lambda cell: (-scores[cell], cell))
    cells = torch.zeros(grid * grid, dtype=torch.bool)
    cells[order[:count]] = True
    return cells.view(grid, grid)


def slow_hidden(cells, height, width, view, image):
    """Nearest upsampling of the cells to the pixels of a batch, which may show a part of the image, mirrored."""
    grid = cells.shape[0]
    hidden = torch.zeros(height, width, dtype=torch.bool)
    top, left, bottom, right = (0.0, 0.0, 1.0, 1.0) if view is None else view.boxes[image].double().tolist()
    for y in range(height):
        for x in range(width):
            column = width - 1 - x if view is not None and view.flip[image] else x
            if view is None:
                row, column = (2 * y + 1) * grid // (2 * height), (2 * column + 1) * grid // (2 * width)
                hidden[y, x] = cells[row, column]
            else:
                down = (top + (y + 0.5) / height * (bottom - top)) * grid
                across = (left + (column + 0.5) / width * (right - left)) * grid
                if 0 <= down < grid and 0 <= across < grid:
                    hidden[y, x] = cells[int(down), int(across)]
    return hidden


def slow_elsewhere(image, hidden, fill_value):
    """Hidden pixels show the pixel half the sides away, in the first of three directions that is not hidden."""
    _, height, width = image.shape
    shown = image.clone()
    for y in range(height):
        for x in range(width):
            if hidden[y, x]:
                shown[:, y, x] = fill_value
                for down, across in ((height // 2, width // 2), (0, width // 2), (height // 2, 0)):
                    from_y, from_x = (y - down) % height, (x - across) % width
                    if not hidden[from_y, from_x]:
                        shown[:, y, x] = image[:, from_y, from_x]
                        break
    return shown


def slow_backmix(mix, images, index, draw, masks=None, view=None):
    """The paper's step for one image after the other (methods: mask, cut, paste), whole images masked first."""
    batch, _, height, width = images.shape
    hidden, seen = [], [True] * batch
    for image in range(batch):
        if mix.foreground == "masks":
            hidden.append(masks[image])
            continue
        if mix.foreground in ("free", "clean"):
            seen[image] = bool(mix.bank.seen[index[image]])
        maps = mix.bank.read(index[image : image + 1])[0]
        cells = slow_cells(mix, maps, None if draw.race is None else draw.race[image])
        if mix.foreground == "none" or not seen[image]:
            cells = torch.zeros_like(cells)
        hidden.append(slow_hidden(cells, height, width, view, image))
    result = images.clone()
    for target in range(batch):
        donor = int(draw.donor[target])
        chosen = draw.mixed is None or bool(draw.mixed[target])
        if not chosen or (mix.unseen == "skip" and not seen[donor]):
            continue
        if mix.how == "swap" and not seen[target]:
            continue
        filling = torch.zeros_like(images[donor])
        for channel in range(images.shape[1]):
            background = images[donor, channel][~hidden[donor]].float()
            if mix.fill == "grey":
                filling[channel] = mix.fill_value
            elif mix.fill == "elsewhere":
                filling = slow_elsewhere(images[donor], hidden[donor], mix.fill_value)
            elif len(background):
                filling[channel] = background.mean()
        deviation = torch.zeros(images.shape[1], 1, 1)
        if not hidden[donor].all():
            deviation = torch.stack([c[~hidden[donor]].float().std(correction=0) for c in images[donor]])[:, None, None]
        if mix.how == "swap":
            noise = draw.noise[target] * deviation if draw.noise is not None else 0
            backdrop = torch.where(hidden[donor], filling + noise, images[donor])
            result[target] = torch.where(hidden[target], images[target], backdrop)
            continue
        for number in range(mix.num_patches):
            (y2, x2), (y1, x1) = draw.cut[number, :, target].tolist(), draw.paste[number, :, target].tolist()
            side = draw.side
            cut = (slice(None), slice(y2, y2 + side), slice(x2, x2 + side))
            noise = draw.noise[number, target] * deviation if draw.noise is not None else 0
            patch = torch.where(hidden[donor][cut[1:]], filling[cut] + noise, images[donor][cut])
            result[target, :, y1 : y1 + side, x1 : x1 + side] = patch
    return result


def make(num_images=12, seed=0, seen=1.0, **options):
    """BackMix whose bank holds random maps, for a share of the images."""
    generator = torch.Generator().manual_seed(seed)
    mix = BackMix(num_images, generator=generator, **options)
    if mix.bank.maps.dtype == torch.float32:
        mix.bank.maps.copy_(torch.rand(mix.bank.maps.shape, generator=generator))
    else:
        mix.bank.maps.copy_(torch.randint(0, 256, mix.bank.maps.shape, generator=generator))
    mix.bank.seen.copy_(torch.rand(num_images, generator=generator) < seen)
    return mix


def random_view(batch, generator):
    boxes = torch.rand(batch, 4, generator=generator) * 0.6 - 0.1
    boxes[:, 2:] = boxes[:, :2] + 0.35 + 0.5 * torch.rand(batch, 2, generator=generator)
    return View(boxes, torch.rand(batch, generator=generator) < 0.5)


@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 5),
    channels=st.integers(1, 3),
    height=st.integers(3, 17),
    width=st.integers(3, 17),
    grid=st.sampled_from([1, 3, 4, 7, 8, 14]),
    with_view=st.booleans(),
    last=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "patch_side": st.sampled_from([0.01, 0.25, 0.4, 0.5, 1.0]),
            "num_patches": st.integers(1, 3),
            "foreground_share": st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
            "selection": st.sampled_from(["topk", "random"]),
            "fill": st.sampled_from(["grey", "mean", "noise", "elsewhere"]),
            "fill_value": st.sampled_from([0.0, 0.5, -2.0]),
            "probability": st.sampled_from([0.0, 0.6, 1.0]),
            "donor": st.sampled_from(["any", "other"]),
            "foreground": st.sampled_from(["free", "clean", "masks", "none"]),
            "apply": st.sampled_from(["patch", "swap"]),
            "unseen": st.sampled_from(["skip", "unmasked"]),
            "bank_dtype": st.sampled_from([torch.float32, torch.uint8]),
        }
    ),
)
def test_equals_the_loop_with_all_options(seed, batch, channels, height, width, grid, with_view, last, options):
    without = options["foreground"] != "masks" and int(options["foreground_share"] * grid**2) == 0
    if options["apply"] == "swap" and (options["foreground"] == "none" or without):
        options = {**options, "apply": "patch"}
    mix = make(seed=seed, seen=0.7, grid=grid, **options)
    generator = torch.Generator().manual_seed(seed + 1)
    images = torch.randn(batch, channels, height, width, generator=generator)
    if last:
        images = images.contiguous(memory_format=torch.channels_last)
    before = images.clone()
    index = torch.randperm(12, generator=generator)[:batch]
    labels = torch.randint(0, 3, (batch,), generator=generator)
    masks = torch.rand(batch, height, width, generator=generator) < 0.4
    view = random_view(batch, generator) if with_view else None
    draw = mix.draw(tuple(images.shape), labels=labels)
    state = mix.bank.maps.clone()
    mixed = mix(images, index, labels=labels, masks=masks, view=view, draw=draw)
    expected = slow_backmix(mix, images, index, draw, masks, view)
    if options["fill"] in ("grey", "elsewhere"):
        assert torch.equal(mixed, expected)
    else:
        torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-5)
    # Nothing that came in was changed, and the result is no view of it.
    assert torch.equal(images, before) and torch.equal(mix.bank.maps, state)
    assert mixed.data_ptr() != images.data_ptr()
    assert mixed.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    unmixed = torch.zeros(batch, dtype=torch.bool) if draw.mixed is None else ~draw.mixed
    assert torch.equal(mixed[unmixed], images[unmixed])
    if mix.how == "patch":
        untouched = torch.ones(batch, height, width, dtype=torch.bool)
        for number in range(mix.num_patches):
            for image in range(batch):
                top, left = draw.paste[number, :, image].tolist()
                untouched[image, top : top + draw.side, left : left + draw.side] = False
        assert torch.equal(mixed.permute(0, 2, 3, 1)[untouched], images.permute(0, 2, 3, 1)[untouched])


# ------------------------------------------------------------------------------- acceptance checks of the reference


def test_check_1_the_chosen_16_cells_and_only_those_are_grey():
    mix = BackMix(2, patch_side=1.0)
    cells = torch.randperm(64, generator=torch.Generator().manual_seed(3))[:16]
    mix.bank.maps.fill_(0.4)
    mix.bank.maps[1].view(-1)[cells] = 0.9
    mix.bank.seen.fill_(True)
    images = 1 + torch.rand(2, 3, 32, 32)
    draw = mix.draw((2, 3, 32, 32))
    # A patch as large as the image shows the whole masked donor.
    mixed = mix(images, torch.tensor([0, 1]), draw=replace(draw, donor=torch.tensor([1, 0])))
    chosen = torch.zeros(64, dtype=torch.bool)
    chosen[cells] = True
    grey = chosen.view(8, 8).repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert torch.equal((mixed[0] == 0).all(0), grey)
    assert torch.equal(mixed[0][:, ~grey], images[1][:, ~grey])


@pytest.mark.parametrize("patch_side", [0.25, 0.5])
def test_check_2_mixed_differs_inside_one_square_of_the_configured_side(patch_side):
    mix = make(seed=1, patch_side=patch_side)
    images = torch.randn(12, 3, 32, 32)
    draw = mix.draw((12, 3, 32, 32))
    mixed = mix(images, torch.arange(12), draw=draw)
    side = round(patch_side * 32)
    for image in range(12):
        changed = (mixed[image] != images[image]).any(0).nonzero()
        if int(draw.donor[image]) == image and torch.equal(draw.cut[0, :, image], draw.paste[0, :, image]):
            continue
        corner = draw.paste[0, :, image]
        assert (changed >= corner).all() and (changed < corner + side).all()
        # Where nothing happens to be equal the square is filled to its rim.
        assert (changed.amax(0) - changed.amin(0) + 1 == side).all()


def test_check_3_without_a_mask_the_patch_equals_the_donors_crop():
    for options in ({"foreground_share": 0.0}, {"foreground": "none"}):
        mix = make(seed=2, **options)
        images = torch.randn(12, 3, 20, 24)
        draw = mix.draw((12, 3, 20, 24))
        mixed = mix(images, torch.arange(12), draw=draw)
        for image in range(12):
            (y2, x2), (y1, x1), s = draw.cut[0, :, image].tolist(), draw.paste[0, :, image].tolist(), draw.side
            donor = images[draw.donor[image]]
            assert torch.equal(mixed[image, :, y1 : y1 + s, x1 : x1 + s], donor[:, y2 : y2 + s, x2 : x2 + s])


@pytest.mark.parametrize("updates", [1, 5, 25])
def test_check_4_maps_follow_the_momentum_without_rescaling(updates):
    mix = BackMix(6, foreground="clean")
    index, constant = torch.arange(6), torch.rand(6, 8, 8, generator=torch.Generator().manual_seed(0))
    images = torch.randn(6, 3, 16, 16)
    for _ in range(updates):
        mix(images, index)  # Drawing an image as donor leaves its map alone.
        mix.update(index, constant)
    torch.testing.assert_close(mix.bank.maps, constant + (0.5 - constant) * 0.9**updates)


def test_maps_of_images_that_were_not_mixed_have_no_pasted_cells():
    mix = BackMix(6, patch_side=0.5)
    mix.bank.seen.fill_(True)
    index = torch.arange(6)
    mix(torch.randn(6, 3, 16, 16), index)
    maps = torch.rand(6, 8, 8) + 0.1
    assert not mix.observe(index, maps)[1].all()
    found, observed = mix.observe(index[:2], maps[:2], mixed=False)  # Not even the same batch.
    assert observed.all() and torch.equal(found, maps[:2])


@pytest.mark.parametrize("donor", ["any", "other"])
def test_check_5_labels_stay_and_every_image_has_one_donor(donor):
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    mix = make(8, seed=3, donor=donor)
    before = labels.clone()
    counts = torch.zeros(8, 8)
    for _ in range(1500):
        drawn = mix.draw((8, 1, 4, 4), labels=labels)
        assert drawn.donor.shape == (8,)
        assert drawn.mixed is None if donor == "any" else drawn.mixed.all()
        counts[torch.arange(8), drawn.donor] += 1
    mixed = mix(torch.randn(8, 1, 4, 4), torch.arange(8), labels=labels)
    assert torch.equal(labels, before) and isinstance(mixed, torch.Tensor)
    for image in range(8):
        allowed = labels != labels[image] if donor == "other" else torch.ones(8, dtype=torch.bool)
        assert counts[image][~allowed].sum() == 0
        assert chisquare(counts[image][allowed].numpy()).pvalue > 1e-4


def test_check_6_corners_drawn_by_the_augmentation_cover_all_places():
    mix = BackMix(1, generator=torch.Generator().manual_seed(4))
    draw = mix.draw((100_000, 1, 32, 32))
    for corner in (draw.cut, draw.paste):
        for axis in range(2):
            counts = torch.bincount(corner[0, axis], minlength=25)
            assert len(counts) == 25  # 0..24: the last row and column are covered too.
            assert chisquare(counts.numpy()).pvalue > 1e-4


OPTIONS = [
    {},
    {"fill": "mean", "num_patches": 3},
    {"fill": "noise", "selection": "random"},
    {"apply": "swap"},
    {"apply": "swap", "fill": "noise"},
    {"fill": "elsewhere"},
    {"apply": "swap", "fill": "grey"},
    {"donor": "other", "foreground": "masks"},
    {"foreground": "centre", "grid": 7},
    {"foreground": "random", "probability": 0.5},
]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("options", OPTIONS)
def test_check_7_device_and_cpu_agree_on_one_draw(options):
    mix = make(seed=5, **options)
    images, index = torch.randn(12, 3, 32, 32), torch.arange(12)
    masks, labels = torch.rand(12, 32, 32) < 0.3, torch.arange(12) % 3
    view = random_view(12, torch.Generator().manual_seed(0))
    draw = mix.draw((12, 3, 32, 32), labels=labels)
    here = mix(images, index, masks=masks, labels=labels, view=view, draw=draw)
    there = mix(images.cuda(), index, masks=masks, labels=labels.cuda(), view=view, draw=draw)
    assert there.is_cuda and mix.bank.maps.is_cuda
    tolerance = 1e-5 if mix.fill != "grey" else 0.0
    torch.testing.assert_close(there.cpu(), here, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("options", OPTIONS)
def test_check_7_on_one_device_a_draw_given_equals_the_draw_made(options):
    images, index = torch.randn(12, 3, 32, 32), torch.arange(12)
    masks, labels = torch.rand(12, 32, 32) < 0.3, torch.arange(12) % 3
    mix = make(seed=5, **options)
    state = mix.generator.get_state()
    draw = mix.draw((12, 3, 32, 32), labels=labels)
    given_draw = mix(images, index, masks=masks, labels=labels, draw=draw)
    mix.generator.set_state(state)
    assert torch.equal(mix(images, index, masks=masks, labels=labels), given_draw)
    assert not torch.equal(given_draw, images)


@pytest.mark.parametrize("size", [(32, 32), (30, 45), (17, 13)])
@pytest.mark.parametrize("grid", [4, 7, 8, 14])
@pytest.mark.parametrize("apply", ["patch", "swap"])
def test_check_8_any_grid_on_any_size(grid, size, apply):
    mix = make(6, seed=6, grid=grid, apply=apply)
    images, index = torch.randn(6, 3, *size), torch.arange(6)
    draw = mix.draw(tuple(images.shape))
    mixed = mix(images, index, draw=draw)
    assert torch.equal(mixed, slow_backmix(mix, images, index, draw))
    mix.update(index, torch.rand(6, grid, grid))
    mix.update(index, torch.rand(6, 5, 9))


def test_check_9_background_shared_by_all_classes_gets_no_gradient_once_its_logits_are_constant():
    classes, cells = 6, 49

    def gradient(logits_of_cells):
        logits_of_cells = logits_of_cells.requires_grad_(True)
        logits = logits_of_cells.mean(0).expand(classes, -1)  # Global average pooling; the same cells in every image.
        F.cross_entropy(logits, torch.arange(classes)).backward()
        return float(logits_of_cells.grad.abs().max())

    generator = torch.Generator().manual_seed(0)
    constant = torch.randn(cells, 1, generator=generator).expand(-1, classes).clone()
    assert gradient(constant) < 1e-8
    assert gradient(torch.randn(cells, classes, generator=generator)) > 1e-5


# -------------------------------------------------------------------------------------------------- what it does


def test_the_plug_in_of_three_lines():
    torch.manual_seed(0)
    backbone, head = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Linear(4, 2)
    images, labels, index = torch.randn(5, 3, 16, 16), torch.tensor([0, 1, 0, 1, 1]), torch.arange(5)
    mix = BackMix(5)
    for _ in range(2):
        mixed = mix(images, index)
        features = backbone(mixed).relu()
        F.cross_entropy(head(features.mean((2, 3))), labels).backward()
        mix.update(index, class_activation_map(features, head.weight, labels))
    assert mix.bank.seen.all() and not torch.equal(mixed, images)


def test_the_first_time_nothing_is_known_and_nothing_is_mixed():
    images, index = torch.randn(8, 3, 16, 16), torch.arange(8)
    assert torch.equal(BackMix(8)(images, index), images)
    assert torch.equal(BackMix(8, apply="swap", unseen="unmasked")(images, index), images)


def test_unmasked_donors_that_are_unseen_hide_nothing():
    # Trap 4 of the release: without a map, what the sort returns first was masked, a band across the image.
    mix = BackMix(8, unseen="unmasked", patch_side=1.0, fill_value=99.0)
    images = torch.randn(8, 3, 16, 16)
    mixed = mix(images, torch.arange(8))
    assert not (mixed == 99).any() and not torch.equal(mixed, images)
    assert not mix.foreground_mask(torch.arange(8), (16, 16)).any()


def test_only_images_with_a_known_donor_are_mixed():
    mix = make(8, seed=0)
    mix.bank.seen.copy_(torch.tensor([True, False] * 4))
    images = torch.randn(8, 3, 16, 16)
    draw = mix.draw((8, 3, 16, 16))
    changed = (mix(images, torch.arange(8), draw=draw) != images).flatten(1).any(1)
    known = mix.bank.seen[draw.donor]
    assert not changed[~known].any() and changed[known & (draw.donor != torch.arange(8))].all()


def test_in_evaluation_images_pass():
    mix = make(seed=0).eval()
    images = torch.randn(4, 3, 8, 8)
    assert mix(images, torch.arange(4)) is images


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.uint8])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("options", [{}, {"apply": "swap"}, {"fill": "noise"}, {"apply": "swap", "fill": "mean"}])
def test_type_and_layout_of_the_images_are_kept(dtype, layout, options):
    mix = make(seed=1, fill_value=3.0, **options)
    random = torch.Generator().manual_seed(1)
    images = (torch.rand(12, 3, 16, 20, generator=random) * 200).to(dtype).contiguous(memory_format=layout)
    draw = mix.draw(tuple(images.shape))
    mixed = mix(images, torch.arange(12), draw=draw)
    assert mixed.dtype == dtype and mixed.is_contiguous(memory_format=layout)
    exact = mix(images.double(), torch.arange(12), draw=draw)
    # Half the distance between neighbours below 512, which noise reaches.
    step = {torch.bfloat16: 1.0, torch.float16: 0.125, torch.uint8: 0.5}.get(dtype, 0.0)
    bounded = exact.clamp(0, 255) if dtype == torch.uint8 else exact
    torch.testing.assert_close(mixed.double(), bounded, atol=step + 1e-4, rtol=0)


def test_images_that_lie_neither_way_and_images_that_share_memory():
    mix = make(seed=2, num_patches=2)
    for images in (torch.randn(12, 3, 9, 16).transpose(2, 3), torch.randn(1, 3, 8, 8).expand(12, -1, -1, -1)):
        draw = mix.draw(tuple(images.shape))
        expected = slow_backmix(mix, images, torch.arange(12), draw)
        assert torch.equal(mix(images, torch.arange(12), draw=draw), expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "options", [{}, {"num_patches": 3, "patch_side": 0.6}, {"probability": 0.5}, {"fill": "elsewhere"}]
)
def test_in_place_the_batch_given_becomes_what_a_new_one_would_be(options, layout):
    images = torch.randn(12, 3, 16, 20).contiguous(memory_format=layout)
    new, same = make(seed=4, **options), make(seed=4, inplace=True, **options)
    draw = new.draw(tuple(images.shape))
    expected = new(images, torch.arange(12), draw=draw)
    given = images.clone(memory_format=torch.preserve_format)
    assert not torch.equal(expected, given)
    assert same(given, torch.arange(12), draw=draw) is given
    assert torch.equal(given, expected)


def test_in_place_images_that_need_a_gradient_or_lie_neither_way_are_copied():
    mix = make(seed=4, inplace=True)
    for images in (torch.randn(12, 3, 16, 16).requires_grad_(), torch.randn(12, 3, 9, 16).transpose(2, 3)):
        before = images.clone()
        assert not torch.equal(mix(images, torch.arange(12)), before)
        assert torch.equal(images, before)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("options", [{}, {"num_patches": 2, "fill_value": 1.0}, {"apply": "swap"}])
def test_gradients_flow_to_the_pixels_that_show(options, layout):
    mix = make(4, seed=3, **options)
    draw = mix.draw((4, 2, 6, 6))
    images = torch.randn(4, 2, 6, 6, dtype=torch.float64).contiguous(memory_format=layout)
    without = mix(images, torch.arange(4), draw=draw)
    images.requires_grad_(True)
    assert torch.equal(mix(images, torch.arange(4), draw=draw), without)
    assert torch.autograd.gradcheck(lambda x: mix(x, torch.arange(4), draw=draw), images)


def test_a_batch_of_one_and_of_none():
    mix = make(seed=4)
    image = torch.randn(1, 3, 16, 16)
    assert mix(image, torch.tensor([5])).shape == image.shape
    empty = torch.empty(0, 3, 16, 16)
    index = torch.empty(0, dtype=torch.int64)
    assert mix(empty, index).shape == empty.shape
    mix.update(index, torch.empty(0, 8, 8))


def test_an_image_without_a_donor_of_another_class_is_left_alone():
    mix = make(4, seed=5, donor="other")
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(mix(images, torch.arange(4), labels=torch.zeros(4, dtype=torch.int64)), images)


def test_the_same_seed_mixes_the_same_and_another_does_not():
    images, index = torch.randn(12, 3, 16, 16), torch.arange(12)
    maps = torch.rand(12, 8, 8, generator=torch.Generator().manual_seed(0))

    def mixed(seed):
        mix = BackMix(12, generator=torch.Generator().manual_seed(seed), bank_dtype=torch.uint8, fill="noise")
        mix(images, index)
        mix.update(index, maps)
        return torch.cat([mix(images, index).flatten(), mix.bank.maps.flatten().float()])

    assert torch.equal(mixed(1), mixed(1))
    assert not torch.equal(mixed(1), mixed(2))


def test_the_share_of_foreground_is_not_lost_to_rounding():
    # 27 / 49 * 49 is 26.999999999999996 in floating point.
    for grid, count in ((7, 27), (9, 7), (14, 3)):
        mix = make(2, grid=grid, foreground_share=count / grid**2)
        mask = mix.foreground_mask(torch.tensor([0]), (grid, grid))
        assert int(mask.sum()) == count
    BackMix(2, grid=7, foreground_share=1 / 49, apply="swap")


@pytest.mark.parametrize("foreground", ["free", "centre"])
def test_looking_at_the_foreground_leaves_the_generator_alone(foreground):
    mix = make(3, foreground=foreground)
    state = mix.generator.get_state()
    mask = mix.foreground_mask(torch.tensor([2, 0]), (16, 24))
    assert torch.equal(mix.generator.get_state(), state)
    assert mask.shape == (2, 16, 24) and mask.dtype == torch.bool
    assert (mask.flatten(1).float().mean(1) == 0.25).all()


def test_the_foreground_follows_a_view():
    mix = make(2, seed=6)
    view = View(torch.tensor([[0.0, 0.5, 0.5, 1.0]]), torch.tensor([True]))
    whole = mix.foreground_mask(torch.tensor([1]), (16, 16))
    part = mix.foreground_mask(torch.tensor([1]), (8, 8), view=view)
    assert torch.equal(part, whole[:, :8, 8:].flip(2))


def test_state_survives_a_file_without_pickle():
    mix = make(seed=7)
    file = io.BytesIO()
    torch.save(mix.state_dict(), file)
    file.seek(0)
    other = BackMix(12)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.bank.maps, mix.bank.maps) and torch.equal(other.bank.seen, mix.bank.seen)
    assert set(mix.state_dict()) == {"bank.maps", "bank.seen"}


def test_copies_and_worker_processes_may_take_it_along_after_mixing():
    mix = BackMix(4, apply="patch")
    mix.bank.seen.fill_(True)
    images, index = torch.randn(4, 3, 16, 16), torch.arange(4)
    mix(images, index)
    for other in (copy.deepcopy(mix), pickle.loads(pickle.dumps(mix))):
        other.update(index, torch.rand(4, 8, 8))
    assert (mix.bank.maps == 0.5).all()


def test_half_of_a_batch_stays_whole_when_backgrounds_are_swapped():
    assert BackMix(7).probability == 1.0 and BackMix(7, apply="swap").probability == 0.5
    assert BackMix(7, apply="swap", probability=1.0).probability == 1.0
    mixed = make(200, seed=9, apply="swap").draw((200, 3, 32, 32)).mixed.double().mean()
    assert 0.35 < mixed < 0.65


def test_print_names_every_option():
    text = repr(BackMix(7, fill="noise", momentum=0.2, probability=0.5, donor="other", selection="random"))
    for part in ("7, patch_side=0.25", "momentum=0.2", "fill='noise'", "donor='other'", "selection='random'"):
        assert part in text
    assert "inplace" not in text and "inplace=True" in repr(BackMix(7, inplace=True))
    assert "probability=0.5" in text and "grid=8" in text and "unseen='skip'" in text


# -------------------------------------------------------------------------------------------- feeding the bank


def test_cells_that_were_pasted_over_are_not_observed_when_fed_freely():
    index, maps = torch.arange(12), torch.rand(12, 8, 8)
    for foreground in ("free", "clean"):
        mix = make(seed=8, foreground=foreground, patch_side=0.3)
        draw = mix.draw((12, 3, 32, 32))
        mix(torch.randn(12, 3, 32, 32), index, draw=draw)
        found, observed = mix.observe(index, maps)
        assert torch.equal(found, maps)
        for image in range(12):
            (top, left), side = draw.paste[0, :, image].tolist(), draw.side
            expected = torch.ones(8, 8, dtype=torch.bool)
            if foreground == "free":
                expected[top // 4 : -(-(top + side) // 4), left // 4 : -(-(left + side) // 4)] = False
            assert torch.equal(observed[image], expected)
        before = mix.bank.maps.clone()
        mix.update(index, maps)
        torch.testing.assert_close(mix.bank.maps, torch.where(observed, 0.9 * before + 0.1 * maps, before))


def test_swapped_images_are_observed_where_they_are_their_own():
    mix = make(4, seed=9, apply="swap", probability=1.0)
    mix(torch.randn(4, 3, 32, 32), torch.arange(4))
    _, observed = mix.observe(torch.arange(4), torch.rand(4, 8, 8))
    cells = mix.foreground_mask(torch.arange(4), (8, 8))
    assert torch.equal(observed, cells)


@pytest.mark.parametrize("apply", ["patch", "swap"])
def test_images_that_were_not_mixed_are_observed_whole(apply):
    mix = make(seed=10, probability=0.0, apply=apply)
    mix(torch.randn(12, 3, 16, 16), torch.arange(12))
    assert mix.observe(torch.arange(12), torch.rand(12, 8, 8))[1].all()
    assert BackMix(12).observe(torch.arange(12), torch.rand(12, 8, 8))[1].all()  # Before any mixing.


def test_cells_out_of_view_are_not_observed():
    mix = make(2, foreground="clean")
    view = View(torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.25, 0.5, 1.25, 1.5]]), torch.tensor([False, True]))
    _, observed = mix.observe(torch.arange(2), torch.rand(2, 8, 8), view=view)
    expected = torch.zeros(2, 8, 8, dtype=torch.bool)
    expected[0, :4] = True
    expected[1, 2:, 4:] = True
    assert torch.equal(observed, expected)


def test_a_crop_after_mixing_hides_its_cells():
    mix = BackMix(1)
    after = View(torch.tensor([[0.25, 0.0, 1.25, 1.0]]), torch.tensor([False]))
    found, observed = mix.observe(torch.tensor([0]), torch.rand(1, 8, 8), after=after)
    assert not observed[0, :2].any() and observed[0, 2:].all()
    assert (found[0, :2] == 0).all()


def test_a_map_without_any_evidence_teaches_nothing():
    mix = BackMix(3)
    maps = torch.zeros(3, 8, 8)
    maps[1, 2, 2] = 1
    mix.update(torch.arange(3), maps)
    assert mix.bank.seen.tolist() == [False, True, False] and (mix.bank.maps[0] == 0.5).all()


@given(seed=st.integers(0, 2**31), grid=st.sampled_from([4, 7, 8]), through_view=st.booleans(), zoom=st.booleans())
def test_a_bright_blob_finds_its_way_home(seed, grid, through_view, zoom):
    """A blob in the whole image, seen through crop, mixing and another crop, lights up its own cell of the bank."""
    generator = torch.Generator().manual_seed(seed)
    batch, pixels = 6, grid * 16
    cell = torch.randint(0, grid, (batch, 2), generator=generator)
    whole = torch.zeros(batch, pixels, pixels)
    for image, (row, column) in enumerate(cell.tolist()):
        whole[image, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = 1.0
    view = random_view(batch, generator) if through_view else None
    images = (whole if view is None else to_view(whole, view, (128, 128), mode="nearest"))[:, None]
    # Donors bring blobs of their own, masked or not: what is pasted must not be taken for the target's.
    mix = make(batch, seed=seed, grid=grid, foreground="free", patch_side=0.3)
    index = torch.arange(batch)
    mixed = mix(images, index, view=view)
    shown, after = FlipCrop(16, padding="zeros", zoom=0.2 if zoom else 0.0, generator=generator)(mixed)
    # A perfect class activation map: how bright it is, on a feature map finer than the bank.
    maps = F.adaptive_avg_pool2d(shown, 2 * grid)[:, 0]
    found, observed = mix.observe(index, maps, view=view, after=after)
    assert found.shape == observed.shape == (batch, grid, grid)
    rows = torch.arange(grid)
    for image, (row, column) in enumerate(cell.tolist()):
        far = ((rows - row).abs() > 1)[:, None] | ((rows - column).abs() > 1)
        # Far from it nothing that counts as observed is bright: interpolation carries a blob of the donor over the
        # border of its patch in part, never whole.
        assert (found[image][observed[image] & far] < 0.5).all()
        if observed[image, row, column]:
            assert found[image, row, column] > 0.25
            beside = found[image].masked_fill(~observed[image], 0)
            assert beside.flatten().argmax() == row * grid + column


def test_another_batch_than_the_one_mixed_last_is_refused():
    mix = make(seed=11)
    index = torch.arange(6)
    mix(torch.randn(6, 3, 16, 16), index)
    mix.update(index.clone(), torch.rand(6, 8, 8))  # The same numbers in another tensor.
    with pytest.raises(ValueError, match="this index is another batch"):
        mix.update(index + 1, torch.rand(6, 8, 8))
    with pytest.raises(ValueError, match="this index is another batch"):
        mix.update(index[:3], torch.rand(3, 8, 8))
    clean = make(seed=11, foreground="clean")
    clean(torch.randn(6, 3, 16, 16), index)
    clean.update(index + 1, torch.rand(6, 8, 8))


@pytest.mark.parametrize("foreground", ["masks", "centre", "random", "none"])
def test_other_foregrounds_leave_the_bank_alone(foreground):
    mix = BackMix(4, foreground=foreground)
    mix.update(torch.arange(4), torch.rand(4, 8, 8))
    assert not mix.bank.seen.any() and (mix.bank.maps == 0.5).all()


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_side": 0.0}, "patch_side is a share of the image's side, in 0..1 and above 0; got 0.0"),
        ({"patch_side": 1.1}, "patch_side is a share"),
        ({"num_patches": 0}, "num_patches is at least 1; got 0"),
        ({"foreground_share": 1.5}, "foreground_share lies in 0..1; got 1.5"),
        ({"probability": -0.1}, "probability lies in 0..1; got -0.1"),
        ({"momentum": 0.0}, "momentum is the weight of the new map"),
        ({"grid": 0}, "at least one image and one cell"),
        ({"bank_dtype": torch.float16}, "dtype is torch.float32, torch.uint8 or None"),
        ({"selection": "best"}, "selection is one of topk, random; got 'best'"),
        ({"fill": "black"}, "fill is one of grey, mean, noise, elsewhere; got 'black'"),
        ({"donor": "same"}, "donor is one of any, other; got 'same'"),
        ({"foreground": "cam"}, "foreground is one of free, clean, masks, centre, random, none; got 'cam'"),
        ({"apply": "blend"}, "apply is one of patch, swap; got 'blend'"),
        ({"unseen": "grey"}, "unseen is one of skip, unmasked; got 'grey'"),
        ({"apply": "swap", "foreground": "none"}, 'apply="swap" keeps the foreground alone'),
        ({"apply": "swap", "inplace": True}, "inplace=True pastes patches into the batch that is given"),
        ({"apply": "swap", "foreground_share": 0.01}, 'apply="swap" keeps the foreground alone'),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        BackMix(4, **options)


IMAGES = torch.rand(2, 3, 8, 8)


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, {"images": IMAGES[0], "index": torch.arange(2)}, r"images must be \(B, C, H, W\); got \(3, 8, 8\)"),
        (
            {},
            {"images": IMAGES, "index": torch.arange(3)},
            r"index must be a tensor \(2,\), one for each image; got \(3,\)",
        ),
        ({}, {"images": IMAGES, "index": torch.tensor([0, 4])}, r"index must lie in 0..3.*got 0..4"),
        ({}, {"images": IMAGES, "index": torch.tensor([0.0, 1.0])}, r"index must be \(B,\) int64 positions"),
        ({"foreground": "masks"}, {"images": IMAGES, "index": torch.arange(2)}, r"needs masks=\(B, H, W\)"),
        (
            {"foreground": "masks"},
            {"images": IMAGES, "index": torch.arange(2), "masks": torch.ones(2, 4, 4)},
            r"masks must be \(2, 8, 8\) like the images; got \(2, 4, 4\)",
        ),
        ({"donor": "other"}, {"images": IMAGES, "index": torch.arange(2)}, r"needs labels=\(2,\).*got None"),
    ],
)
def test_calls_that_do_not_fit(options, arguments, message):
    with pytest.raises(ValueError, match=message):
        BackMix(4, **options)(**arguments)


@pytest.mark.parametrize("wrong", [-1, 4, 2**40, -(2**40)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"unseen": "unmasked"},
        {"selection": "random"},
        {"bank_dtype": torch.uint8},
        {"fill": "mean"},
        {"apply": "swap"},
        {"foreground": "none"},
        {"foreground_share": 0.0},
        {"donor": "other"},
        {"patch_side": 1.0, "grid": 9},
    ],
)
def test_a_wrong_index_is_told_whatever_is_read_and_changes_nothing(options, wrong):
    inplace = options.get("apply") != "swap"
    mix = BackMix(4, inplace=inplace, **options)
    mix.bank.seen.fill_(True)  # So that the bank may skip looking whether a donor has a map.
    images = IMAGES.clone()
    with pytest.raises(ValueError, match=r"index must lie in 0..3, the images of the bank; got"):
        mix(images, torch.tensor([1, wrong]), labels=torch.tensor([0, 1]))
    assert torch.equal(images, IMAGES)


@pytest.mark.parametrize(
    ("index", "found"),
    [([0, 1], "list"), (torch.tensor([0]), r"\(1,\)"), (None, "NoneType"), (torch.zeros(2, 1), r"\(2, 1\)")],
)
def test_an_index_that_is_no_tensor_of_one_place_an_image_is_told(index, found):
    with pytest.raises(ValueError, match=rf"index must be a tensor \(2,\), one for each image; got {found}"):
        BackMix(4)(IMAGES[:2], index)


@pytest.mark.parametrize("maps", [torch.rand(3, 8, 8), torch.rand(2, 64), torch.rand(2, 1, 8, 8)])
def test_maps_that_do_not_fit(maps):
    with pytest.raises(ValueError, match=r"maps must be \(2, h, w\), one for each index; got"):
        BackMix(4).update(torch.arange(2), maps)


@pytest.mark.parametrize("foreground", ["masks", "none"])
def test_no_estimate_to_show(foreground):
    with pytest.raises(ValueError, match=f"foreground='{foreground}' makes no estimate to show"):
        BackMix(4, foreground=foreground).foreground_mask(torch.arange(2), (8, 8))


def test_no_outline_of_the_donors_object_is_left_by_a_swap():
    """Backgrounds of one colour each: what shows around the target's object is of one colour too."""
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[0, 2:8, 2:8] = masks[1, 9:15, 4:10] = True
    images = torch.where(masks[:, None], 5.0, torch.tensor([1.0, 2.0])[:, None, None, None]).expand(-1, 3, -1, -1)
    mix = BackMix(2, apply="swap", foreground="masks", probability=1.0)
    assert mix.fill == "elsewhere" and BackMix(2).fill == "grey"
    draw = mix.draw((2, 3, 16, 16))
    mixed = mix(images, torch.arange(2), masks=masks, draw=replace(draw, donor=torch.tensor([1, 0])))
    expected = torch.where(masks[:, None], 5.0, torch.tensor([2.0, 1.0])[:, None, None, None]).expand(-1, 3, -1, -1)
    assert torch.equal(mixed, expected)


@pytest.mark.parametrize("foreground", ["free", "clean"])
def test_maps_of_one_cell_are_refused_when_they_are_first_seen(foreground):
    mix, index = BackMix(4, foreground=foreground), torch.arange(4)
    mix(torch.rand(4, 3, 32, 32), index)
    with pytest.raises(ValueError, match=f"one cell.*foreground='{foreground}'.*output_stride=8"):
        mix.update(index, torch.rand(4, 1, 1))
    assert not mix.bank.seen.any()
    mix.update(index, torch.rand(4, 1, 2))
    assert mix.bank.seen.all()


@pytest.mark.parametrize("foreground", ["centre", "random", "none"])
def test_maps_of_one_cell_do_not_matter_where_no_map_is_read(foreground):
    mix, index = BackMix(4, foreground=foreground), torch.arange(4)
    mix(torch.rand(4, 3, 32, 32), index)
    mix.update(index, torch.rand(4, 1, 1))
    assert not mix.bank.seen.any()


@pytest.mark.parametrize("apply", ["patch", "swap"])
def test_which_images_were_mixed_is_told(apply):
    mix = BackMix(64, apply=apply, probability=0.7, generator=torch.Generator().manual_seed(0))
    images, index = torch.rand(64, 3, 32, 32), torch.arange(64)
    assert mix.mixed is None
    mix(images, index)
    assert not mix.mixed.any()  # No image has a map yet.
    mix.bank.update(index[:32], torch.rand(32, 8, 8))
    changed = (mix(images, index) != images).flatten(1).any(1)
    assert torch.equal(mix.mixed, changed) and 0 < changed.sum() < 32
