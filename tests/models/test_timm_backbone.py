"""Real timm models with random weights; nothing here touches the network."""

import warnings
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from backmix.models import TimmBackbone, create_backbone, create_timm_backbone

timm = pytest.importorskip("timm")

Size = int | tuple[int, int]

# name, image size, channels, grid
MODELS: list[tuple[str, Size, int, tuple[int, int]]] = [
    ("resnet18", 64, 512, (2, 2)),
    ("resnet26", 64, 2048, (2, 2)),
    ("convnext_atto", 64, 320, (2, 2)),
    ("mobilenetv3_small_050", (64, 96), 288, (2, 3)),
    ("efficientnet_b0", 64, 1280, (2, 2)),
    ("vit_tiny_patch16_224", 64, 192, (4, 4)),
    ("deit_tiny_distilled_patch16_224", (64, 96), 192, (4, 6)),
    ("swin_tiny_patch4_window7_224", (64, 96), 768, (2, 3)),
    ("vit_small_patch14_dinov2", 56, 384, (4, 4)),
    ("vit_small_patch14_reg4_dinov2", (56, 42), 384, (4, 3)),
    ("mambaout_femto", 64, 288, (2, 2)),
    ("poolformerv2_s12", 64, 512, (2, 2)),
    *([("test_coatnet", 160, 128, (5, 5))] if timm.is_model("test_coatnet") else []),  # Since timm 1.0.31.
]

# Shapes alone, on the meta device: families whose tokens or layout have a form of their own.
MORE: list[tuple[str, Size | None, tuple[int, int]]] = [
    ("gmlp_ti16_224", None, (14, 14)),
    ("coat_lite_tiny", (128, 192), (4, 6)),
    ("volo_d1_224", 128, (8, 8)),
    ("cait_xxs24_224", 64, (4, 4)),
    ("xcit_nano_12_p8_224", 64, (8, 8)),
    ("twins_svt_small", (128, 192), (4, 6)),
    ("levit_128s", 224, (4, 4)),
    ("hiera_tiny_224", 128, (4, 4)),
    ("mvitv2_tiny", 128, (4, 4)),
    ("naflexvit_base_patch16_gap", (64, 96), (4, 6)),
    ("samvit_base_patch16_224", None, (14, 14)),
    ("vit_base_patch16_clip_224", 64, (4, 4)),
    ("densenet121", 64, (2, 2)),
    ("inception_v3", 128, (2, 2)),
]


def sides(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


@cache
def build(name: str, size: Size) -> TimmBackbone:
    torch.manual_seed(0)
    return create_timm_backbone(name, image_size=size).eval()


def pictures(size: Size, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, *sides(size), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "size", "channels", "grid"), MODELS)
def test_feature_map(name: str, size: Size, channels: int, grid: tuple[int, int]) -> None:
    backbone = build(name, size)
    with torch.no_grad():
        features = backbone(pictures(size))
    assert features.shape == (2, channels, *grid)
    assert (backbone.num_features, backbone.name) == (channels, name)
    assert (backbone.mean, backbone.std) == (None, None)
    assert features.isfinite().all()


@pytest.mark.parametrize(("name", "size", "grid"), MORE)
def test_feature_map_of_other_families(name: str, size: Size | None, grid: tuple[int, int]) -> None:
    with torch.device("meta"):
        backbone = create_timm_backbone(name, image_size=size)
        features = backbone(torch.empty(2, 3, *sides(size or 224)))
    assert features.shape == (2, backbone.num_features, *grid)


@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name, size, _, _ in MODELS if "vit" in name or "deit" in name]
)
def test_patch_tokens_lie_where_timm_puts_them(name: str, size: Size) -> None:
    backbone = build(name, size)
    with torch.no_grad():
        theirs = backbone.model.forward_intermediates(  # type: ignore[operator]
            pictures(size), indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        assert torch.allclose(backbone(pictures(size)), theirs[-1], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_tiny_patch16_224", 64),
        ("deit_tiny_distilled_patch16_224", (64, 96)),
        ("swin_tiny_patch4_window7_224", (64, 96)),
        ("vit_small_patch14_reg4_dinov2", (56, 42)),
    ],
)
def test_a_cell_answers_to_its_own_part_of_the_image(name: str, size: Size) -> None:
    backbone, images = build(name, size), pictures(size, 1)
    with torch.no_grad():
        before = backbone(images)
        rows, columns = before.shape[2:]
        changed = images.repeat(rows * columns, 1, 1, 1)
        tall, wide = sides(size)[0] // rows, sides(size)[1] // columns
        for cell in range(rows * columns):
            top, left = cell // columns * tall, cell % columns * wide
            changed[cell, :, top : top + tall, left : left + wide] *= -2.0
        answer = (backbone(changed) - before).abs().mean(1).flatten(1)
    assert answer.argmax(1).tolist() == list(range(rows * columns))


@pytest.mark.parametrize(("name", "size"), [(name, size) for name, size, _, _ in MODELS])
def test_gradients_reach_every_parameter(name: str, size: Size) -> None:
    backbone = build(name, size)
    backbone.zero_grad()
    backbone(pictures(size)).square().mean().backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None or not p.requires_grad] == []
    backbone.zero_grad()


@pytest.mark.parametrize(("name", "size"), [(name, size) for name, size, _, _ in MODELS])
def test_bf16_and_channels_last(name: str, size: Size) -> None:
    backbone, images = build(name, size), pictures(size)
    with torch.no_grad():
        plain = backbone(images)
        with torch.autocast("cpu", torch.bfloat16):
            half = backbone(images.contiguous(memory_format=torch.channels_last))
    assert half.shape == plain.shape
    assert nn.functional.cosine_similarity(plain.flatten(), half.float().flatten(), dim=0) > 0.98


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_mambaout"])
def test_state_goes_round_and_ten_steps_lower_the_loss(name: str) -> None:
    torch.manual_seed(0)
    one, two = (create_timm_backbone(name, image_size=32) for _ in range(2))
    images = pictures(32, 8)
    assert not torch.equal(one.eval()(images), two.eval()(images))
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(images), two(images))

    head = nn.Linear(one.num_features, 2)
    labels = torch.arange(8) % 2
    images[labels == 1, 0] += 2.0
    optimiser = torch.optim.AdamW([*one.train().parameters(), *head.parameters()], lr=1e-3)
    losses = []
    for _ in range(11):
        loss = nn.functional.cross_entropy(head(one(images).mean((2, 3))), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_family_builds_it_with_and_without_the_prefix() -> None:
    for name in ("test_vit", "timm/test_vit", "timm/test_vit.r160_in1k"):
        backbone = create_backbone(name, image_size=64, in_channels=1, drop_path_rate=0.1)
        assert isinstance(backbone, TimmBackbone)
        assert backbone.name == name.removeprefix("timm/")
        assert backbone.training
        assert backbone(torch.rand(2, 1, 64, 64)).shape == (2, backbone.num_features, 4, 4)


def test_parts_behind_the_pooling_are_gone() -> None:
    with torch.device("meta"):
        backbone = create_timm_backbone("vgg11", image_size=64)
        whole = timm.create_model("vgg11", num_classes=0)
    assert sum(p.numel() for p in whole.parameters()) > 100e6
    assert sum(p.numel() for p in backbone.parameters()) < 10e6
    assert all(name.startswith("model.features") for name in backbone.state_dict())


def test_a_parameter_without_use_asks_for_no_gradient() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 2, stride=2)
            self.idle = nn.Parameter(torch.zeros(3))
            self.stem = nn.Conv2d(3, 3, 1).requires_grad_(False)  # frozen by its author, and in use

        def forward_features(self, images: torch.Tensor) -> torch.Tensor:
            return self.conv(self.stem(images))

    backbone = TimmBackbone("idle", Idle(), probe_size=(8, 8))
    assert backbone(torch.rand(1, 3, 8, 8)).shape == (1, 4, 4, 4)
    assert {n for n, p in backbone.named_parameters() if p.requires_grad} == {"model.conv.weight", "model.conv.bias"}
    assert isinstance(backbone.model.stem, nn.Conv2d)


def test_trying_out_changes_no_running_statistics() -> None:
    torch.manual_seed(0)
    backbone = create_timm_backbone("test_resnet", image_size=32)
    counts = [value for name, value in backbone.state_dict().items() if name.endswith("num_batches_tracked")]
    assert counts
    assert all(count == 0 for count in counts)


def test_weights_made_under_inference_mode_can_be_trained() -> None:
    with torch.inference_mode():
        backbone = create_timm_backbone("test_vit", image_size=32)
    backbone(torch.rand(1, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_images_of_another_size_than_it_was_built_for() -> None:
    backbone = build("vit_tiny_patch16_224", 64)
    with pytest.raises(ValueError, match="vit_tiny_patch16_224 was built for images of 64x64, got 64x80"):
        backbone(torch.rand(1, 3, 64, 80))
    assert build("resnet18", 64)(torch.rand(1, 3, 96, 70)).shape == (1, 512, 3, 3)


def test_a_transformer_told_to_be_flexible_takes_any_size() -> None:
    backbone = create_timm_backbone("test_vit", image_size=64, dynamic_img_size=True).eval()
    assert backbone.fixed_size is None
    assert backbone(torch.rand(1, 3, 96, 32)).shape == (1, backbone.num_features, 6, 2)


def test_own_size_where_none_is_given() -> None:
    assert create_timm_backbone("test_vit").fixed_size == (160, 160)
    assert create_timm_backbone("test_resnet").fixed_size is None


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("pit_ti_224", r"shape \(1, 1, 256\)"),
        ("crossvit_tiny_240", r"list of shape \(1, 401, 96\), shape \(1, 197, 192\)"),
    ],
)
def test_features_that_are_no_map(name: str, found: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=f"{name}' cannot become a map .* found {found}"):
        create_timm_backbone(name)


@pytest.mark.parametrize(
    ("name", "size"), [("vit_tiny_patch16_224", 8), ("inception_v3", 64), ("mvitv2_tiny", (128, 192))]
)
def test_size_that_the_model_cannot_take(name: str, size: Size) -> None:
    tall, wide = sides(size)
    with torch.device("meta"), pytest.raises(ValueError, match=rf"{name} cannot take images of {tall}x{wide} \("):
        create_timm_backbone(name, image_size=size)


def test_warns_of_pixels_that_no_patch_covers() -> None:
    with torch.device("meta"):
        with pytest.warns(
            UserWarning, match="patches of 14x14 and does not see the last 8 rows and 8 columns"
        ) as caught:
            create_backbone("vit_small_patch14_dinov2", image_size=64)
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            create_backbone("vit_small_patch14_dinov2", image_size=70)


def test_unknown_weights_and_options() -> None:
    with pytest.raises(ValueError, match=r"no weights tagged 'mine' for test_vit; it has: r160_in1k"):
        create_backbone("test_vit.mine")
    with pytest.raises(TypeError, match="colour"):
        create_backbone("test_vit", colour="red")


def test_model_that_timm_has_no_weights_for() -> None:
    pretrained = {full.partition(".")[0] for full in timm.list_pretrained()}
    name = next(name for name in timm.list_models() if name not in pretrained)
    with pytest.raises(ValueError, match=f"timm publishes no weights for {name}"):
        create_backbone(name, pretrained=True)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["test_resnet", "timm/test_vit.r160_in1k", "hf-hub:timm/test_resnet.r160_in1k"])
def test_pretrained_weights_out_of_reach(name: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"are not in cache_dir=.* and could not be downloaded") as caught:
        create_backbone(name, pretrained=True, cache_dir=tmp_path)
    message = str(caught.value)
    assert repr(name.removeprefix("timm/")) in message
    assert str(tmp_path) in message
    assert "pretrained=False" in message


@pytest.mark.usefixtures("offline")
def test_pretrained_weights_from_the_cache(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    published = timm.create_model("test_resnet").eval()
    folder = tmp_path / "models--timm--test_resnet.r160_in1k"
    revision = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    (folder / "snapshots" / revision).mkdir(parents=True)
    save_file(published.state_dict(), folder / "snapshots" / revision / "model.safetensors")

    backbone = create_backbone("test_resnet", pretrained=True, cache_dir=tmp_path, image_size=64).eval()
    images = pictures(64)
    assert torch.equal(backbone(images), published.forward_features(images))
    assert (backbone.mean, backbone.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_local_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Config file not found"):
        create_backbone(f"local-dir:{tmp_path}")
