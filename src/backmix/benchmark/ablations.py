"""Ablations of BackMix as named lists of options: one option at a time is moved from its default."""

from __future__ import annotations

_PATCH: dict[str, tuple[str, ...]] = {
    "patch-side": tuple(f"patch_side={side}" for side in (0.125, 0.375, 0.5, 0.75)),
    "patches": tuple(f"num_patches={count}" for count in (2, 4)),
    "foreground-share": tuple(f"foreground_share={share}" for share in (0.0, 0.125, 0.5)),
    "momentum": tuple(f"momentum={momentum}" for momentum in (0.02, 0.5, 1.0)),
    "fill": ("fill=mean", "fill=noise"),
    "selection": ("selection=random",),
    "donor": ("donor=other",),
    "probability": ("probability=0.5",),
    "source": ("foreground=clean", "foreground=centre", "foreground=random", "foreground=none", "foreground=saliency"),
}

ABLATIONS: dict[str, tuple[tuple[str, str], ...]] = {
    **{name: tuple(("backmix", variant) for variant in variants) for name, variants in _PATCH.items()},
    "apply": (("swap", ""),),
}
"""Ablation name -> (augmentation, variant) of each setting beside BackMix's defaults."""


def find_ablation(name: str) -> tuple[tuple[str, str], ...]:
    """Settings of one ablation, or of all of them.

    Args:
        name: one of `ABLATIONS`, or "all".

    Raises:
        ValueError: for another name.
    """
    if name == "all":
        return tuple(setting for settings in ABLATIONS.values() for setting in settings)
    if name not in ABLATIONS:
        raise ValueError(f"no ablation {name!r}; there are {', '.join(ABLATIONS)}, or all")
    return ABLATIONS[name]
