"""A page as one HTML file that needs nothing else: templates of the package, filled and escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from backmix.pages.words import count, interval, number, percent, visible


def render(page: dict[str, Any], owner: str) -> str:
    """Fill the template of a page; every text in `page` is escaped but for `Markup`.

    Args:
        page: what the template names.
        owner: the part of the package whose page this is, as "report": its template is `report/templates/report.html`.
    """
    return _environment(owner).get_template(f"{owner}.html").render(page)


def fragment(owner: str, name: str, **values: Any) -> str:
    """Fill the template of a part of a page; every text in `values` is escaped but for `Markup`.

    Args:
        owner: the part of the package whose page it is, as "app".
        name: of the template, as "card": it is `app/templates/card.html`.
        values: what the template names.
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
