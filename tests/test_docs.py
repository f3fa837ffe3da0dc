"""The Python in the docs runs: each page from top to bottom, in a program of its own."""

import re
from pathlib import Path

import pytest

import backmix.methods

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(
    page
    for page in [*DOCS.glob("methods/*.md"), *DOCS.glob("augmentations/*.md"), *DOCS.glob("*.md")]
    # These speak of data sets and runs of the reader's.
    if page.name not in ("guide.md", "results.md")
)


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: str(page.relative_to(DOCS)))
def test_the_python_of_a_page_runs(page, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(backmix.methods, "METHODS", backmix.methods.METHODS)
    before = dict(backmix.methods.METHODS)
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "docs"}
    try:
        for number, block in enumerate(blocks(page)):
            exec(compile(block, f"{page.name}, block {number + 1}", "exec"), namespace)
    finally:
        backmix.methods.METHODS.clear()
        backmix.methods.METHODS.update(before)


@pytest.mark.parametrize("name", backmix.methods.METHODS)
def test_every_method_has_a_page_with_a_snippet(name):
    page = DOCS / "methods" / f"{name}.md"
    assert blocks(page) and f"--method {name}" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["backmix", *__import__("backmix.augmentations").augmentations.AUGMENTATIONS])
def test_every_augmentation_has_a_page_with_a_snippet(name):
    page = DOCS / "augmentations" / f"{name}.md"
    assert blocks(page) and f"--augmentation {name}" in page.read_text(encoding="utf-8")
