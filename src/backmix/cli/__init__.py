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
from backmix.cli.predict import predict
from backmix.cli.report import report
from backmix.cli.share import share
from backmix.cli.study import study
from backmix.cli.tables import tables

app = typer.Typer(
    name="backmix",
    help="Open-set image recognition that does not cheat on backgrounds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo, fit, calibrate, report, app_page, predict, export, evaluate, audit, study, share, bench, tables):
    app.command(command.__name__)(with_options(command))


def main() -> None:
    """Entry point: errors made for people end in one line on stderr and exit status 1."""
    from backmix.errors import BackmixError

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # File names need not be text.
    try:
        app()
    except (BackmixError, ValueError, OSError) as error:
        # What we raise is written for people; a traceback would bury it.
        print(f"backmix: {' '.join(str(error).splitlines())}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("backmix: stopped", file=sys.stderr)
        sys.exit(130)
