"""The part of docs/results.md on accidents and strangers: what was done to backmix, and what was lost."""

from __future__ import annotations

from typing import Any

HEAD = ["what was done", "how often", "what came", "lost"]


def words(found: dict[str, Any]) -> str:
    """Return what was done, and what "lost" means."""
    return (
        "`python benchmarks/faults.py` does to the commands what accidents and strangers do, on small data, each part from a seed\n"
        f"({found['setting']['seed']}). A row counts as lost what it should not be: work that is not gone on with, a result that differs from that of an\n"
        "untouched command, half a file under a final name, an altered file that is answered as if it were whole, an error that is no\n"
        "sentence, an answer that went to somebody else. [What is trusted](trust.md) says what an altered run may do when whoever altered it\n"
        "signs it again: it answers as it likes, but validly."
    )


def rows(found: dict[str, Any]) -> list[list[str]]:
    """Return a row for each part that was run."""
    return [[*ROWS[part](found[part]), str(len(found[part]["lost"]))] for part in ROWS if part in found]


def _kills(part: dict[str, Any]) -> list[str]:
    of = ", ".join(f"{row['command']} {row['kills']}" for row in part["commands"])
    return [
        f"SIGKILL at a drawn moment, then the same command again ({of})",
        f"{part['kills']} kills",
        "ended as if untouched",
    ]


def _runs(part: dict[str, Any]) -> list[str]:
    came = ", ".join(
        f"{part[key]} {key}"
        for key in ("refused", "answered as before", "answered as its signer wants")
        if part.get(key)
    )
    return [
        "files of a run altered: bytes, values, tensors; damaged, or signed again",
        f"{part['runs']} runs",
        f"{came}; at most {part['slowest']:.1f} s a run",
    ]


def _images(part: dict[str, Any]) -> list[str]:
    return [
        f"picture files of {part['formats']} kinds altered, among healthy ones; `predict` and `fit`",
        f"{part['files']} files",
        f"{part['answered']} answered, {part['named as unreadable']} named as unreadable; at most {part['fit']['MiB']} MiB",
    ]


def _clients(part: dict[str, Any]) -> list[str]:
    return [
        f"clients of `backmix app` at once ({part.get('broken off', 0)} break off, {part.get('no picture', 0)} send no picture)",
        f"{part['clients']} clients",
        f"each got the answer to its own picture, in {part['seconds']:.1f} s",
    ]


def _pairs(part: dict[str, Any]) -> list[str]:
    both = sum(row["both ended well"] for row in part["commands"])
    return [
        f"two of a command at once on one folder ({len(part['commands'])} commands)",
        f"{part['pairs']} pairs",
        f"one whole result; in {part['pairs'] - both} the second was told of the first",
    ]


def _disk(part: dict[str, Any]) -> list[str]:
    return [
        f"a disk that gets full at a write, at each write in turn ({len(part['commands'])} commands)",
        f"{part['writes']} writes",
        "a sentence, or the result where only a cache was meant; with room again, the same result",
    ]


ROWS = {"kills": _kills, "runs": _runs, "images": _images, "clients": _clients, "pairs": _pairs, "disk": _disk}
