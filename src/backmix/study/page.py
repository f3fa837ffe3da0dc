"""The page of a study: a single HTML file that needs no other files."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backmix.files import write_text
from backmix.pages.render import render
from backmix.pages.words import visible
from backmix.study.charts import alternative, make_charts
from backmix.study.results import Results
from backmix.study.summary import summarise
from backmix.version import __version__

FILE = "study.html"


def write_study_page(file: Path, study: Mapping[str, Any], pictures: bytes | None, command: Sequence[str]) -> Path:
    """Write the page of a study, whether the study is finished or not.

    Args:
        file: The file to write.
        study: The content of study.json.
        pictures: A PNG of sample images; None for none.
        command: The words of the command that repeats the study.

    Returns:
        The path of the file.

    Raises:
        TrainingError: If the file cannot be written.
    """
    parts = summarise(study)
    charts = make_charts(Results(study))
    page: dict[str, Any] = {
        "title": study["setting"]["data"]["data"],
        "version": __version__,
        "sections": {part.key: part.title for part in parts} | {"settings": "Settings and how to repeat this"},
        "parts": {part.key: part for part in parts},
        "charts": {key: _data(png) for key, png in charts.items()},
        "alternative": alternative,
        "pictures": _data(pictures) if pictures is not None else None,
        "seeds": sorted({cell["seed"] for cell in study["cells"]}),
        "missing": study["missing"],
        "settings": _settings(study["setting"]),
        "command": [visible(shlex.quote(word), 20_000) for word in command],
    }
    write_text(file, render(page, "study"))
    return file


def _settings(setting: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the names and values of the settings, with a row for each nested value."""
    rows = []
    for name, value in setting.items():
        if isinstance(value, Mapping):
            rows += [(f"{name}: {key}", _text(of)) for key, of in value.items()]
        else:
            rows.append((name, _text(value)))
    return [(name.replace("_", " "), value) for name, value in rows]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(of) for of in value)
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
