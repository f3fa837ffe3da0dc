"""Shorten the names of images by the folders above their data, which are private."""

from __future__ import annotations

from pathlib import Path

from backmix.data.load import absolute


def roots(places: list[str | None]) -> list[str]:
    """Return the folders that contain data, the longest path first.

    Args:
        places: The data, as a person named it; None is skipped.
    """
    parents = {str(Path(absolute(place)).parent) for place in places if place is not None}
    return sorted(parents - {".", "/"}, key=lambda path: (-len(path), path))


def short_name(name: str, roots: list[str]) -> str:
    """Return the name of an image without the folders above its data.

    Args:
        name: The name, as `ImageSource.name` returns it.
        roots: The folders that contain data, see the function `roots`.
    """
    for root in roots:
        if name.startswith(root + "/"):
            return name[len(root) + 1 :]
    return name
