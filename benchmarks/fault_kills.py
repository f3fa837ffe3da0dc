"""Kill commands at drawn moments, start them again, and compare with what an untouched command leaves."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
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

SHARES = {
    **{"fit": 20, "head": 10, "csv": 8, "json": 5, "parquet": 7, "audit": 14, "study": 8, "bench": 8},
    **{"calibrate": 6, "export": 6, "report": 4, "share": 4},
}
"""How many of 100 kills each command gets."""
AT_ONCE = 3
"""The most kills of one piece of work before it may finish."""


def kills(world: World, seed: int, number: int) -> dict[str, Any]:
    """Kill commands, and count what was lost.

    Args:
        world: What the commands work on.
        seed: The seed of the moments.
        number: The number of kills.
    """
    dice, rows = random.Random(seed), []
    for key, share in SHARES.items():
        wanted = max(1, round(share * number / sum(SHARES.values())))
        rows.append(_killed(COMMANDS[key], world, dice, wanted))
        print(f"  {rows[-1]}", flush=True)
    return {
        "kills": sum(row["kills"] for row in rows),
        "lost": [text for row in rows for text in row["lost"]],
        "commands": rows,
    }


def _killed(command: Command, world: World, dice: random.Random, wanted: int) -> dict[str, Any]:
    lost: list[str] = []
    with tempfile.TemporaryDirectory(dir=world.root) as folder:
        whole = Path(folder) / "whole" / WORK
        begin(command, world, whole)
        start = time.monotonic()
        _finish(command, world, whole, again=False)
        seconds = time.monotonic() - start
        expected, done, works = command.result(whole), 0, 0
        while done < wanted:
            out, works = Path(folder) / f"killed-{works}" / WORK, works + 1
            begin(command, world, out)
            killed = 0
            while killed < AT_ONCE and done < wanted:
                # The first second of a command only imports.
                if not _kill(command, world, out, dice.uniform(1.0, seconds), again=killed > 0):
                    break
                killed, done = killed + 1, done + 1
                lost += [f"{command.name}: {what}" for what in damaged(out)]
            if killed == 0:
                continue
            try:
                _finish(command, world, out, again=True)
            except RuntimeError as error:
                if not _complete(command, out, expected):
                    lost.append(f"{command.name}: not resumed: {error}")
                    continue
            lost += [f"{command.name}: {what}" for what in damaged(out)]
            if (found := command.result(out)) != expected:
                lost.append(f"{command.name}: another result after {killed} kills: {difference(expected, found)}")
            lost += [f"{command.name}: {path.name} is left" for path in out.rglob("*.tmp")]
            shutil.rmtree(out.parent)
    return {"command": command.name, "kills": done, "works": works, "seconds": round(seconds, 1), "lost": lost}


def _kill(command: Command, world: World, out: Path, delay: float, *, again: bool) -> bool:
    """Start a command and kill it after a delay in seconds; say whether it was still at work."""
    process = subprocess.Popen(
        command_line(words_now(command, world, out, again=again)),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _complete(command: Command, out: Path, expected: Any) -> bool:
    """Return whether a killed command had done all: then it refuses to begin again where its result lies."""
    try:
        return bool(command.result(out) == expected)
    except (OSError, ValueError):
        return False


def _finish(command: Command, world: World, out: Path, *, again: bool) -> None:
    words = words_now(command, world, out, again=again)
    done = subprocess.run(command_line(words), env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {(done.stderr or done.stdout)[-400:]}")
