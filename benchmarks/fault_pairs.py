"""Start every command twice at once on the same folder: the result is one whole result, and nothing false is said."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from fault_commands import (
    COMMANDS,
    ENVIRONMENT,
    WORK,
    Command,
    World,
    begin,
    command_line,
    damaged,
    difference,
    words_now,
)

TOLD = ("another process", "another backmix", "is not empty", "is not an empty folder", "exists", "holds")
"""What the second one may be told."""


def pairs(world: World, times: int) -> dict[str, Any]:
    """Start two of every command at once, again and again.

    Args:
        world: What the commands work on.
        times: How often each command is tried.
    """
    rows = []
    for command in COMMANDS.values():
        rows.append(_pairs_of(command, world, times))
        print(f"  {rows[-1]}", flush=True)
    return {
        "pairs": sum(row["pairs"] for row in rows),
        "lost": [text for row in rows for text in row["lost"]],
        "commands": rows,
    }


def _pairs_of(command: Command, world: World, times: int) -> dict[str, Any]:
    lost: list[str] = []
    both = 0
    with tempfile.TemporaryDirectory(dir=world.root) as folder:
        alone = Path(folder) / "alone" / WORK
        begin(command, world, alone)
        subprocess.run(
            command_line(words_now(command, world, alone, again=False)),
            env=ENVIRONMENT,
            check=True,
            capture_output=True,
        )
        expected = command.result(alone)
        for number in range(times):
            out = Path(folder) / f"{number}" / WORK
            begin(command, world, out)
            ends = _two(command, world, out)
            codes = [code for code, _ in ends]
            both += codes == [0, 0]
            if 0 not in codes:
                lost.append(f"{command.name}: neither ended well: {ends[0][1]}")
            for code, said in ends:
                if code and not any(text in said for text in TOLD):
                    lost.append(f"{command.name}: refused with {said}")
            lost += [f"{command.name}: {what}" for what in damaged(out)]
            if 0 in codes and (found := command.result(out)) != expected:
                lost.append(f"{command.name}: the result of two at once is another: {difference(expected, found)}")
    return {"command": command.name, "pairs": times, "both ended well": both, "lost": lost}


def _two(command: Command, world: World, out: Path) -> list[tuple[int, str]]:
    """Start two, and return how each ended and what it said last."""
    words = command_line(words_now(command, world, out, again=False))
    started = [
        subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    return [(process.wait(), said[-400:]) for process in started for said in [process.communicate()[0]]]
