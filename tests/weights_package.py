"""A package of weights that Python finds and whose code must not run."""

import sys

from backmix.models.published import PACKAGES


def put_package(monkeypatch, folder, model, *, content=b"", file=True):
    """Write the package of a model into a folder on Python's path, before any real one; return its file."""
    package = PACKAGES[model]
    path = folder / package.module / package.file
    path.parent.mkdir(parents=True)
    (folder / package.module / "__init__.py").write_text("raise RuntimeError('no code of the package is to run')")
    if file:
        path.write_bytes(content)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, package.module, raising=False)
    return path
