"""The house can be taken in at one look: few rooms, short files, short functions, no circle of imports."""

import ast
import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import backmix

ROOT = Path(backmix.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def test_there_are_few_files_and_folders_at_the_root():
    entries = [entry for entry in ROOT.iterdir() if entry.name != "__pycache__"]
    assert len(entries) <= 36
    assert len([entry for entry in entries if entry.suffix == ".py"]) <= 6


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_and_its_functions_can_be_read(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 100, f"{node.name} is too long"


def test_no_file_imports_itself_through_others():
    """Of packages too, whose `__init__` import-linter does not compare with the files inside."""
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("backmix", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 200
    TopologicalSorter(imports).prepare()  # Raises CycleError, which names the circle.


def test_the_diagram_of_the_docs_shows_the_floors_that_are_checked():
    project = ROOT.parents[1]
    if not (project / "pyproject.toml").is_file():
        pytest.skip("not a checkout: there is no pyproject.toml beside the package")
    contracts = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    drawn = re.search(r"```mermaid\n(.*?)```", (project / "docs" / "architecture.md").read_text(), re.DOTALL)[1]
    boxes = dict(re.findall(r'^  (\w+)\["(.*)"\]$', drawn, re.MULTILINE))
    order = drawn.strip().splitlines()[-1].split("-->")
    floors = [{room.strip() for room in re.split(r",|<br/>", boxes[box.strip()]) if room.strip()} for box in order]
    assert floors == [{room.strip() for room in layer.split("|")} for layer in layers if layer != "__main__"]
