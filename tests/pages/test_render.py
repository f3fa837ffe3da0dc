"""Templates are filled, and no text that is put into one is taken for HTML."""

import pytest
from jinja2 import TemplateNotFound, UndefinedError
from markupsafe import Markup

from backmix.pages.render import fragment


def test_text_is_escaped_and_markup_is_not():
    assert fragment("app", "message", text="<b>&") == '<p class="bm-error" role="alert">&lt;b&gt;&amp;</p>\n'
    assert "<b>bold</b>" in fragment("app", "message", text=Markup("<b>bold</b>"))
    assert type(fragment("app", "message", text="x")) is str


def test_what_is_missing_is_an_error():
    with pytest.raises(UndefinedError, match="text"):
        fragment("app", "message")
    with pytest.raises(TemplateNotFound):
        fragment("app", "no such template")
