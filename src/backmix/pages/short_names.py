"""Names of images without the folders above their data, which are nobody's business."""

from __future__ import annotations

from pathlib import Path

from backmix.data.load import absolute


def roots(places: list[str | None]) -> list[str]:
    """Folders in which data lies, the longest path first.

    Args:
        places: data as it was named; None is passed over.
    """
    parents = {str(Path(absolute(place)).parent) for place in places if place is not None}
    return sorted(parents - {".", "/"}, key=lambda path: (-len(path), path))


def short_name(name: str, roots: list[str]) -> str:
    """The name of an image from its data on.

    Args:
        name: as `ImageSource.name` gives it.
        roots: see `roots`.
    """
    for root in roots:
        if name.startswith(root + "/"):
            return name[len(root) + 1 :]
    return name
