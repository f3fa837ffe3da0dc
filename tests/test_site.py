"""The documentation site: every page is in it, every link leads somewhere, every public name is in the reference."""

import ast
import importlib
import json
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import backmix

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS) for path in DOCS.rglob("*.md"))
SAID_BY_OTHERS = "## Said by other programs"


class Settings(yaml.SafeLoader):
    """mkdocs.yml may name Python objects; here their names are enough."""


Settings.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def settings():
    return yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Settings)


def pages_in(nav):
    for entry in nav:
        for inside in entry.values() if isinstance(entry, dict) else [entry]:
            yield from [inside] if isinstance(inside, str) else pages_in(inside)


def text_of(page):
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_navigation_names_every_page_once():
    named = list(pages_in(settings()["nav"]))
    assert sorted(named) == [page.as_posix() for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_that_a_page_links_to_are_there(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+:", target) or target.startswith("#") or not re.search(r"[./]", target):
            continue
        assert (DOCS / page.parent / target.partition("#")[0]).exists(), f"{page} links to {target}"


def test_pictures_have_a_text_and_are_small():
    for page in PAGES:
        for text, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", text_of(page)):
            assert len(text.split()) > 5, f"{page}: {target} needs a text that says what it shows"
            assert (DOCS / page.parent / target).stat().st_size < 300_000


def named_in_reference():
    text = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))
    return re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)


PARTS = ("augmentations", "data", "detectors", "foregrounds", "methods", "mixing", "models", "outliers")


@pytest.mark.parametrize("part", ["", *PARTS])
def test_every_public_name_is_in_the_reference(part):
    module = importlib.import_module(f"backmix.{part}") if part else backmix
    there = named_in_reference()
    at_the_top = {name.rpartition(".")[2] for name in there if name.count(".") == 1}
    missing = [
        name
        for name in module.__all__
        if f"{module.__name__}.{name}" not in there and not (part == "mixing" and name in at_the_top)
    ]
    assert not missing, f"add ::: {module.__name__}.{missing[0]} to a page of docs/reference"


def test_names_in_the_reference_exist_and_stand_there_once():
    there = named_in_reference()
    assert len(set(there)) == len(there)
    for name in there:
        path, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(path), last), name


@cache
def messages():
    """All texts in the package, with a mark where values are filled in."""
    texts = []
    for path in (ROOT / "src" / "backmix").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return [*texts, (ROOT / "Makefile").read_text(encoding="utf-8")]


def quoted_messages():
    ours = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").split(SAID_BY_OTHERS)[0]
    return re.findall(r"^### `(.+)`$", ours, re.MULTILINE)


@pytest.mark.parametrize("message", quoted_messages())
def test_a_message_that_is_explained_is_one_that_is_said(message):
    pieces = [re.escape(piece.strip()) for piece in message.split("...") if piece.strip()]
    said = re.compile(".*".join(pieces), re.DOTALL)
    assert any(said.search(text) for text in messages()), "no text in src/backmix has this message any more"


def hooks():
    spec = spec_from_file_location("site_hooks", DOCS / "site_hooks.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_to_files_outside_the_site_become_code():
    unlink = hooks().unlink_files
    assert unlink("see [a loop](../examples/plain_loop.py).", DOCS) == "see `a loop`."
    assert unlink("[`loop`](../../examples/plain_loop.py)", DOCS / "methods") == "`loop`"
    for kept in ("[guide](../guide.md#data)", "[gone](../../nowhere.py)", "![picture](../images/mixing.png)"):
        assert unlink(kept, DOCS / "methods") == kept


def test_commands_are_listed_with_all_their_options():
    from backmix.cli import app

    listed = hooks().list_commands()
    for command in app.registered_commands:
        assert f"\n## {command.name or command.callback.__name__}\n" in "\n" + listed
    for line in (
        "- `--out RUN`: ",
        "- `--json FILE`: ",
        "- `--per-class, --overall`: ",
        "- `--precision auto|bf16|fp32`: ",
    ):
        assert line in listed


class Assets(HTMLParser):
    """What a page loads and what it links to."""

    def __init__(self):
        super().__init__()
        self.loads, self.links, self.anchors = [], [], set()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found.get("id"), found.get("name")}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        for attribute in ("src", "srcset", "data"):
            if found.get(attribute):
                self.loads.append(found[attribute])
        if tag == "link" and found.get("rel") != "canonical":
            self.loads.append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    absent = [
        name for name in ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers") if find_spec(name) is None
    ]
    if absent:
        pytest.skip(f'the site is not built: {", ".join(absent)} is not installed; pip install ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "WARNING -" not in done.stderr
    return folder


@cache
def parsed(path):
    found = Assets()
    found.feed(path.read_text(encoding="utf-8"))
    return found


def test_the_site_has_every_page_and_no_program(site):
    for page in PAGES:
        assert (site / page.with_suffix(".html")).is_file()
    assert not list(site.rglob("*.py"))


def test_nothing_is_loaded_from_another_host(site):
    for path in site.rglob("*.html"):
        for address in parsed(path).loads:
            assert not urlsplit(address).netloc, f"{path.name} loads {address}"
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path.name


def test_links_within_the_site_lead_to_their_anchors(site):
    pages = {path: parsed(path) for path in site.rglob("*.html") if path.name != "404.html"}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path.name} links to {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path.name} links to {link}"


def test_every_public_name_has_its_place_on_the_site(site):
    anchors = set().union(*(parsed(path).anchors for path in (site / "reference").glob("*.html")))
    assert {f"backmix.{name}" for name in backmix.__all__} <= anchors


def test_search_finds_an_error_message(site):
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    assert "is not the file this run was saved with" in index and "ForegroundBank" in index
    # The source code of the reference is no text to find; code of a page is.
    found = {
        entry["location"].partition("#")[0] for entry in json.loads(index)["docs"] if "def forward(" in entry["text"]
    }
    assert found == {"training-loops.html"}
