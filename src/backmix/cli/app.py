"""The options of `backmix app`. `backmix.cli.app_command` does the work."""

from __future__ import annotations

from backmix.cli.arguments import AppArguments
from backmix.cli.options import AnyRun


def app(run: AnyRun, arguments: AppArguments) -> None:
    """Try a run on pictures in a web page: class or unknown, how strange, and where the network looks."""
    from backmix.cli.app_command import app_command

    app_command(run, arguments)
