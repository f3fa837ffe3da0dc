"""`backmix app`."""

from __future__ import annotations

from typing import Annotated

import typer

from backmix.cli.options import AnyRun


def app(
    run: AnyRun,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Default: this machine alone; 0.0.0.0 is every network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 7860,
    max_upload: Annotated[int, typer.Option(min=1, metavar="MB", help="Largest file.")] = 20,
    max_pixels: Annotated[int, typer.Option(min=1, help="Width times height of the largest picture.")] = 100_000_000,
    max_files: Annotated[int, typer.Option(min=1, help="How many pictures are answered at once.")] = 200,
    open_browser: Annotated[
        bool, typer.Option("--open-browser/--no-open-browser", help="Open the page in the browser of this machine.")
    ] = False,
) -> None:
    """Try a run on pictures in a web page: class or unknown, how strange, and where the network looks."""
    from backmix.cli.app_command import AppArguments, app_command

    arguments = AppArguments(host, port, max_upload, max_pixels, max_files, open_browser)
    app_command(run, arguments)
