"""The layout of the features of a timm model: channels-last maps and token sequences as ``(B, C, h, w)``."""

from __future__ import annotations

from torch import Tensor, nn

from backmix.models.backbone import keeps_channels_last


def as_map(name: str, model: nn.Module, features: object, size: tuple[int, int]) -> Tensor:
    """Return the result of `forward_features` as a view of shape ``(B, C, h, w)``.

    Args:
        name: The name of the model, for the error.
        model: The timm model, which knows its layout, its leading tokens and its patches.
        features: The features: ``(B, C, h, w)``, ``(B, h, w, C)`` if the model declares it, or ``(B, tokens, C)``.
        size: The (height, width) of the images, in pixels.

    Raises:
        ValueError: If the features have another form, or if the tokens do not fill a grid of the image's aspect ratio.
    """
    if isinstance(features, Tensor) and features.dim() == 4:
        return features.permute(0, 3, 1, 2) if keeps_channels_last(model) else features
    if isinstance(features, Tensor) and features.dim() == 3:
        prefix = _prefix_tokens(model)
        tokens = features[:, prefix:]
        grid = _token_grid(model, tokens.shape[1], size)
        if grid is not None:
            cells: Tensor = tokens.unflatten(1, grid)
            return cells.permute(0, 3, 1, 2)
        found = f"shape {tuple(features.shape)}, of which {prefix} tokens lead and {tokens.shape[1]} are left"
    else:
        found = _shape_of(features)
    raise ValueError(
        f"the features of timm model {name!r} cannot become a map for images of {size[0]}x{size[1]}: found {found}; "
        "expected (B, C, h, w), (B, h, w, C) or (B, tokens, C) with a token for each cell of a grid. "
        "Use a model that keeps its grid, such as resnet18 or vit_tiny_patch16_224"
    )


def _shape_of(features: object) -> str:
    if isinstance(features, Tensor):
        return f"shape {tuple(features.shape)}"
    parts = features.values() if isinstance(features, dict) else features if isinstance(features, list | tuple) else ()
    return f"{type(features).__name__} of {', '.join(_shape_of(part) for part in parts) or 'no tensors'}"


def _prefix_tokens(model: nn.Module) -> int:
    known = getattr(model, "num_prefix_tokens", None)
    if isinstance(known, int):
        return known
    # VOLO, CoaT and others put a class token in front without counting it.
    return int(any(name.startswith("cls_token") for name, _ in model.named_parameters(recurse=False)))


def _token_grid(model: nn.Module, count: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the (h, w) of `count` tokens in row order, or None if they fill no grid of the image's aspect ratio."""
    height, width = size
    grid_of = getattr(getattr(model, "patch_embed", None), "dynamic_feat_size", None)
    if grid_of is not None:
        rows, columns = grid_of(size)
        if rows * columns == count:
            return int(rows), int(columns)
    # Networks that reduce the grid further (MViT, Twins, LeViT) have one total stride, with sizes rounded down or up.
    for stride in range(1, max(size) + 1):
        for rows, columns in ((height // stride, width // stride), (-(-height // stride), -(-width // stride))):
            if rows * columns == count > 0:
                return rows, columns
    return None
