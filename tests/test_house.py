"""The house can be taken in at one look: few rooms, short files, short functions, no circle of imports."""

import ast
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
