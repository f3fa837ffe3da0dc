"""The options of `backmix audit`. `backmix.cli.audit_command` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.arguments import AuditArguments

GAP_TOO_LARGE = 3
"""Exit status when the background gap is above --fail-above; 1 and 2 are errors."""


def audit(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for audit.html, audit.json and images.csv.")],
    arguments: AuditArguments,
    fail_above: Annotated[
        float | None,
        typer.Option(metavar="GAP", help="End with exit status 3 when the background gap (0.10 is 10 %) is above."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the audit in DIR.")] = False,
) -> None:
    """Find out whether a classifier looks at the object or at the background."""
    from backmix.cli.audit_command import audit_command, gap_above

    result = audit_command(arguments, out, resume=resume, fail_above=fail_above)
    reason = None if fail_above is None else gap_above(result, fail_above)
    if reason is not None:
        typer.echo(f"backmix: {reason}", err=True)
        raise typer.Exit(GAP_TOO_LARGE)
