"""Write the page of an audit, one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from backmix.audit import page_figures, page_words
from backmix.audit.gather import Gathered
from backmix.audit.page_pictures import Show, example, masked, rows
from backmix.audit.run import Audit
from backmix.files import write_text
from backmix.pages.render import render
from backmix.pages.short_names import roots, short_name
from backmix.pages.words import visible
from backmix.version import __version__

FILE = "audit.html"
MOST_LINES = 500  # The largest number of classes in the table; nobody reads a thousand lines.
SECTIONS = {
    "summary": "Summary",
    "sets": "What it was shown",
    "classes": "Class by class",
    "pictures": "Where the background decides",
    "background": "What the background does",
    "open": "Unknown objects",
    "masks": "How far the masks can be trusted",
    "settings": "Notes, settings and how to repeat this",
}


def write_audit_page(
    file: Path,
    result: Mapping[str, Any],
    audit: Audit,
    gathered: Gathered,
    show: Show,
    *,
    command: Sequence[str],
    fail_above: float | None = None,
) -> Path:
    """Write the page of an audit. On the same machine, the same audit gives the same file, byte for byte.

    Args:
        file: The file to write.
        result: The content of audit.json.
        audit: The result of the audit run.
        gathered: The images and classes of the audit.
        show: A function from an image to its pictures, which must still exist, see `AuditRun.show`.
        command: The words of the command that repeats the audit.
        fail_above: The largest background gap that is allowed, None if no limit was given.

    Returns:
        The file.

    Raises:
        TrainingError: If the file cannot be written.
    """
    decided = [entry["item"] for entry in result["background_decides"]]
    data, open_set = result["data"], result["open_set"]
    page: dict[str, Any] = {
        "title": Path(str(result["model"]["name"])).name or result["model"]["name"],
        "version": __version__,
        "sections": {key: name for key, name in _sections(result).items() if key != "open" or open_set is not None},
        "result": result,
        "words": page_words,
        "summary": page_figures.summary(result, fail_above),
        "sets": page_figures.set_lines(
            result, example(audit, gathered, show, decided, estimated=result["masks"]["estimated"])
        ),
        "classes": page_figures.class_lines(result),
        "most_lines": MOST_LINES,
        "few": page_figures.FEW_OF_A_CLASS,
        "decided": rows(decided, audit, gathered, show),
        "masked": masked(audit, gathered, show),
        "changes": page_figures.change_lines(result),
        "entropies": page_figures.entropy_lines(result),
        "aurocs": page_figures.auroc_lines(open_set),
        "settings": settings(result),
        "versions": versions(result["backmix"]),
        "command": [visible(shlex.quote(word), 20_000) for word in command],
        "shorter": partial(short_name, roots=roots([data["name"], data["scenes"], data["unknown"]])),
    }
    write_text(file, render(page, "audit"))
    return file


def _sections(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the sections; where masks are estimated, what they are worth stands before what they say."""
    if not result["masks"]["estimated"]:
        return SECTIONS
    return {key: SECTIONS[key] for key in dict.fromkeys(["summary", "masks", *SECTIONS])}


def settings(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the settings of the audit, as names and values."""
    model, data, masks = result["model"], result["data"], result["masks"]
    kinds = {"run": "a run", "timm": "a timm model", "function": "a Python function"}
    rows = [
        ("model", model["name"]),
        ("kind", kinds.get(model["kind"], model["kind"])),
        ("outputs", str(model["outputs"])),
        ("image size", f"{model['image_size']} pixels"),
        ("unknown score", model["unknown_score"] or "none"),
        ("data", data["name"]),
        ("split", data["split"] or "none"),
        ("masks", masks["source"] + (", estimated" if masks["estimated"] else "")),
        ("scenes", data["scenes"] or "none"),
        ("unknown objects", data["unknown"] or "those of the data, if any"),
        ("seed", str(result["seed"])),
    ]
    return [(name, str(value)) for name, value in rows]


def versions(audited: str) -> list[tuple[str, str]]:
    """Return the versions of the packages that affect the figures."""
    found = [("backmix", audited), ("Python", platform.python_version())]
    return [*found, *((name, metadata.version(name)) for name in ("torch", "numpy", "pillow"))]
