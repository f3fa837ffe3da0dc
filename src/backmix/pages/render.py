"""Render a page as one HTML file that needs no other file, from the templates of the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from backmix.pages.words import count, interval, number, percent, visible


def render(page: dict[str, Any], owner: str) -> str:
    """Fill the template of a page. Every text in `page` is escaped, except `Markup`.

    Args:
        page: The values that the template names.
        owner: The part of the package that owns the page. The template of "report" is `report/templates/report.html`.
    """
    return _environment(owner).get_template(f"{owner}.html").render(page)


def fragment(owner: str, name: str, **values: Any) -> str:
    """Fill the template of a part of a page. Every text in `values` is escaped, except `Markup`.

    Args:
        owner: The part of the package that owns the page, for example "app".
        name: The name of the template. The template "card" of "app" is `app/templates/card.html`.
        values: The values that the template names.
    """
    return _environment(owner).get_template(f"{name}.html").render(values)


@cache
def _environment(owner: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(f"backmix.{owner}"), PackageLoader("backmix.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(visible=visible, percent=percent, number=number, counted=count, interval=interval)
    environment.globals["style"] = Markup((Path(__file__).parent / "templates" / "page.css").read_text("utf-8"))
    return environment
