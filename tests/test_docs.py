"""The Python in the docs runs: each page from top to bottom, in a program of its own."""

import re
from pathlib import Path

import pytest
import torch

import backmix.methods

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(
    page
    for page in [*DOCS.glob("methods/*.md"), *DOCS.glob("augmentations/*.md"), *DOCS.glob("*.md")]
    # These speak of data sets and runs of the reader's; the last has tests of its own, below.
    if page.name not in ("guide.md", "results.md", "training-loops.md")
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


LOOPS = DOCS / "training-loops.md"


def loop(heading, monkeypatch, tmp_path):
    """Run the first block of the page and the block under a heading, and return what they define."""
    monkeypatch.chdir(tmp_path)
    page = LOOPS.read_text(encoding="utf-8")
    code = blocks(LOOPS)
    below = re.findall(r"^```python\n(.*?)^```", page[page.index(heading) :], re.MULTILINE | re.DOTALL)[0]
    for package in re.findall(r"^# needs: (\w+)$", below, re.MULTILINE):
        pytest.importorskip(package, reason=f"{package} is not installed, so the page's code for it is not run")
    namespace = {"__name__": "docs"}
    torch.manual_seed(0)
    for number, block in enumerate(dict.fromkeys([code[0], *([code[1]] if "compiled" in below else []), below])):
        exec(compile(block, f"{LOOPS.name}, block {number + 1}", "exec"), namespace)
    return namespace


def test_mixed_precision_and_accumulated_gradients(monkeypatch, tmp_path, capsys):
    found = loop("## Mixed precision", monkeypatch, tmp_path)
    assert found["mix"].bank.seen.float().mean() > 0.9 and found["mix"].mixed.float().mean() > 0.8
    assert "epoch 2: loss" in capsys.readouterr().out and torch.isfinite(found["loss"])


def test_a_compiled_network(monkeypatch, tmp_path):
    found = loop("## `torch.compile`", monkeypatch, tmp_path)
    assert found["features"].shape == (32, 32, 8, 8)
    torch.compiler.reset()


def test_lightning(monkeypatch, tmp_path):
    found = loop("## Lightning", monkeypatch, tmp_path)
    assert 0.3 < found["mixed"] <= 1.0
    state = found["module"].state_dict()
    assert state["mix.bank.seen"].float().mean() > 0.9


def test_the_trainer_of_hugging_face(monkeypatch, tmp_path):
    found = loop("## The Trainer of Hugging Face", monkeypatch, tmp_path)
    mix = found["model"].mix
    assert mix.bank.seen.float().mean() > 0.9 and mix.mixed.float().mean() > 0.8
    assert found["model"].eval()(found["images"][:2])["logits"].shape == (2, 6)
