"""The house can be taken in at one look: few rooms, short files, short functions, no circle of imports."""

from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import backmix

ROOT = Path(backmix.__file__).parent


def test_there_are_few_files_and_folders_at_the_root():
    entries = [entry for entry in ROOT.iterdir() if entry.name != "__pycache__"]
    assert len(entries) <= 36
    assert len([entry for entry in entries if entry.suffix == ".py"]) <= 6


def test_no_file_imports_itself_through_others():
    """Of packages too, whose `__init__` import-linter does not compare with the files inside."""
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("backmix", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 200
    TopologicalSorter(imports).prepare()  # Raises CycleError, which names the circle.
