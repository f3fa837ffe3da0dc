"""Packages that only these estimators need, imported when one is made."""

from __future__ import annotations

import importlib
from typing import Any

from backmix.errors import BackmixError


class MissingLibraryError(BackmixError, ImportError):
    """A package that is not part of the plain installation is needed and not there."""


def require(module: str, name: str) -> Any:
    """Import a module.

    Args:
        module: dotted name.
        name: who needs it, for the error.

    Raises:
        MissingLibraryError: with what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingLibraryError(
            f"{name}: needs {module.partition('.')[0]}, which cannot be imported ({error}); "
            f'pip install "backmix[foregrounds]"'
        ) from error
