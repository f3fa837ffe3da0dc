"""The command line, with one file for each command. Heavy packages are imported only when a command runs."""

from __future__ import annotations

import io
import sys

import typer

from backmix.cli.app import app as app_page
from backmix.cli.audit import audit
from backmix.cli.bench import bench
from backmix.cli.calibrate import calibrate
from backmix.cli.declared import with_options
from backmix.cli.demo import demo
from backmix.cli.evaluate import evaluate
from backmix.cli.export import export
from backmix.cli.fit import fit
from backmix.cli.grouped_help import GroupedCommand
from backmix.cli.predict import predict
from backmix.cli.report import report
from backmix.cli.share import share
from backmix.cli.study import study
from backmix.cli.tables import tables

COMMANDS = (demo, fit, calibrate, report, app_page, predict, export, evaluate, audit, study, share, bench, tables)


def make_app(only: str | None = None) -> typer.Typer:
    """Return the command line, with the options of the command `only`; None: of all commands.

    The other commands are there by name and description alone: their options would take as long to build as the rest.
    """
    made = typer.Typer(
        name="backmix",
        help="Open-set image recognition that does not cheat on backgrounds.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for command in COMMANDS:
        name = command.__name__

        def described() -> None: ...

        described.__doc__ = command.__doc__
        made.command(name, cls=GroupedCommand)(with_options(command) if only in (None, name) else described)
    return made


app = make_app()


def main() -> None:
    """Entry point: errors made for people end in one line on stderr and exit status 1."""
    from backmix.cli.standard_streams import open_closed_streams, told_in_one_line

    open_closed_streams()
    from backmix.errors import BackmixError

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # File names need not be text.
    try:
        make_app(next((word for word in sys.argv[1:] if not word.startswith("-")), ""))()
    except (BackmixError, ValueError, OSError) as error:
        # What we raise is written for people; a traceback would bury it.
        print(f"backmix: {told_in_one_line(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("backmix: stopped", file=sys.stderr)
        sys.exit(130)
    finally:
        # Where Ctrl-C interrupts a text that Python executes, as dataclasses do when they are made, `python -m` ends by
        # the signal and not with the status, though the interruption was handled. The next text resets this.
        exec("")
