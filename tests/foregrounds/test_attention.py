import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.foregrounds.attention import AttentionForeground, hold_mass

TINY = "test_vit"


def tiny(**options):
    torch.manual_seed(0)
    return AttentionForeground(**{"model": TINY, "pretrained": False, "image_size": 64, **options})


def attention_of_the_model_itself(network, images):
    """Softmax weights as the last block computes them, caught on their way to its dropout."""
    caught = []
    attend = network.blocks[-1].attn
    attend.fused_attn = False
    hook = attend.attn_drop.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    with torch.no_grad():
        network(images)
    hook.remove()
    return caught[0]


@pytest.mark.parametrize("model", [TINY, "vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2"])
def test_attention_is_that_of_the_class_token_averaged_over_heads(model):
    estimator = tiny(model=model, image_size=56 if "14" in model else 64)
    # Random networks attend nearly evenly; larger weights make the maps differ.
    with torch.no_grad():
        estimator.network.blocks[-1].attn.qkv.weight.mul_(20)
    side = estimator.image_size
    images = torch.randint(0, 256, (3, 3, side, side), dtype=torch.uint8)
    maps = estimator.attention(images)
    config = estimator.network.pretrained_cfg
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    weights = attention_of_the_model_itself(estimator.network, (images / 255 - mean) / std)
    prefix, grid = estimator.network.num_prefix_tokens, estimator.network.patch_embed.grid_size
    slow = torch.zeros(3, *grid)
    for b in range(3):
        for patch in range(grid[0] * grid[1]):
            heads = [weights[b, head, 0, prefix + patch].item() for head in range(weights.shape[1])]
            slow[b, patch // grid[1], patch % grid[1]] = sum(heads) / len(heads)
    assert maps.shape == (3, *grid)
    torch.testing.assert_close(maps, slow, atol=1e-5, rtol=1e-4)
    assert maps.flatten(1).std(1).min() > 1e-4


def test_map_and_mask_have_the_size_of_the_picture():
    estimator = tiny()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8))
    soft, mask = estimator.saliency(picture), estimator.estimate(picture)
    assert soft.shape == mask.shape == (50, 90)
    assert soft.dtype == np.float32 and mask.dtype == bool
    assert soft.min() >= 0 and soft.max() == pytest.approx(1, abs=1e-5)
    assert mask.any() and not mask.all()


def test_a_batch_gives_what_single_pictures_give():
    estimator = tiny(batch_size=2)
    random = np.random.default_rng(1)
    shapes = ((20, 30), (64, 64), (100, 40))
    pictures = [Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in shapes]
    for picture, mask in zip(pictures, estimator.estimate_batch(pictures), strict=True):
        assert (mask == estimator.estimate(picture)).mean() > 0.99
        assert mask.shape == (picture.height, picture.width)


def test_the_mask_holds_the_mass_asked_for_and_no_pixel_more():
    soft = torch.rand(7, 9, generator=torch.Generator().manual_seed(0))
    mask = hold_mass(soft, 0.6)
    held = soft[mask].sum()
    assert held >= 0.6 * soft.sum() > held - soft[mask].min()
    assert soft[mask].min() >= soft[~mask].max()
    assert hold_mass(torch.tensor([[1.0, 0.0]]), 0.6).tolist() == [[True, False]]


def test_attention_leaves_the_gradient_alone_and_can_be_pickled():
    estimator = tiny()
    picture = Image.new("RGB", (20, 20), "teal")
    again = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(again.saliency(picture), estimator.saliency(picture))
    assert not any(p.requires_grad for p in estimator.network.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mass": 1.0}, "mass .*got 1.0"),
        ({"batch_size": 0}, "batch_size .*got 0"),
        ({"image_size": 70}, "multiple of the patches|cannot be made"),
        ({"model": "no_such_model"}, "timm has no model 'no_such_model'"),
        ({"model": "resnet18"}, "resnet18 (is no plain vision transformer|cannot be made)"),
        ({"model": "vit_base_patch16_siglip_224"}, "class token"),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=f"^attention: .*({message})"):
        tiny(**options)
