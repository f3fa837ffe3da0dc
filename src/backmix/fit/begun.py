"""What a run folder holds before a training: nothing, or the same training to go on with."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from backmix.data.photo import FULL
from backmix.errors import RunError
from backmix.files import LOCK
from backmix.fit.arguments import FitArguments
from backmix.runs.folder import read_config

CHECKPOINT = "checkpoint.pt"


def check_out(out: Path, arguments: FitArguments, resume: bool) -> None:
    """Raise RunError unless `out` is new, is empty, or holds the same training to resume."""
    if out.is_file():
        raise RunError(f"{out} is a file; --out is the folder of the run")
    if not resume:
        if out.is_dir() and any(entry.name != LOCK for entry in out.iterdir()):
            raise RunError(f"{out} is not empty. Choose another --out, delete it, or go on with it by --resume.")
        return
    if not (out / "config.yaml").is_file():
        # A run that was interrupted before it wrote anything is like a new run.
        if out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise RunError(f"{out} holds other things and no run to resume. Choose another --out, or drop --resume.")
        return
    now = asdict(arguments)
    # Runs of earlier versions do not record options that did not exist then.
    before = {**asdict(FitArguments("")), **(read_config(out).get("arguments") or {})}
    free = ("detector", "accept", "cache")  # These may change, because they are used only after training.
    changed = [
        f"{key}: {before.get(key)!r} -> {now[key]!r}" for key in now if key not in free and before.get(key) != now[key]
    ]
    if changed:
        raise RunError(
            f"cannot resume {out} with other options than it began with: {'; '.join(changed)}. "
            "Give the old options, or choose another --out."
        )


def begun_choices(out: Path) -> dict[str, Any]:
    """Return the choices with which a run began, because the machine that resumes it might choose differently."""
    if not (out / "config.yaml").is_file():
        return {}
    config = read_config(out)
    training, chosen = config.get("training") or {}, config.get("chosen") or {}
    if ":" in str(chosen.get("model", "")) and chosen["model"] != (config.get("arguments") or {}).get("model"):
        raise RunError(
            f"{out / 'config.yaml'} names a network in another place, {chosen['model']!r}, that nobody asked for. "
            "Choose another --out."
        )
    checkpoint = (out / CHECKPOINT).is_file()
    return {
        "decoding": FULL,  # Trainings that earlier versions began do not name it.
        **{key: training[key] for key in ("precision",) if key in training},
        **({"epochs": training["epochs"]} if checkpoint and "epochs" in training else {}),
        **chosen,
    }
