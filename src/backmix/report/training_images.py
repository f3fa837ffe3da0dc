"""Find the images that a run was trained on, and the foreground bank that the run kept of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backmix.classifier import OpenSetClassifier
from backmix.data.folder import image_key
from backmix.data.source import ImageSource
from backmix.data.split import repeat_rare
from backmix.errors import RunError
from backmix.report.run_facts import RunFacts
from backmix.runs.held_out import Shares, read_shares
from backmix.train.checkpoint import load_checkpoint


def shares_of(run: Path, moved: str | None = None) -> Shares | None:
    """Return the images that a run held out; None if the run does not state them. See `read_shares` for `moved`."""
    try:
        return read_shares(run, moved)
    except RunError:
        return None


def training_positions(
    facts: RunFacts,
    classifier: OpenSetClassifier,
    source: ImageSource,
    shares: Shares | None,
    split: str | None,
    images: int | None = None,
) -> Tensor:
    """Return the positions (M,) of the images that the run trained on, in the order of its foreground bank.

    These are the known images of the training split, without those that were held out and those that could not be
    read. If the run does not state the images that it held out, none are removed as held out.

    Args:
        facts: The facts of the run.
        classifier: The classifier of the run.
        source: The training split of the run.
        shares: The images that the run held out; None if the run does not state them.
        split: The name of the training split.
        images: The number of images in the bank. If it equals the number of images with those of rare classes repeated,
            these are repeated here too; otherwise each image occurs once. If None, each image occurs once.
    """
    labels = classifier.labels_for(source)
    held: set[str] = set()
    for share in (shares.calibration, shares.test) if shares else ():
        if share.split == split and share.images is not None:
            held |= set(share.images)
    known = (labels >= 0).nonzero().flatten()
    if held:
        known = torch.tensor([k for k in known.tolist() if image_key(source, k) not in held], dtype=torch.int64)
    gone = {name for name, _ in facts.unreadable}

    def readable(positions: Tensor) -> Tensor:
        if not gone:
            return positions
        return torch.tensor([k for k in positions.tolist() if source.name(k) not in gone], dtype=torch.int64)

    once = readable(known)
    if images is None or images == len(once) or not len(known):
        return once
    repeated = readable(repeat_rare(labels, known))
    return repeated if len(repeated) == images else once


def kept_bank(checkpoint: Path) -> dict[str, Tensor] | None:
    """Return the foreground bank that a training kept; None if there is no bank, or if it has no map.

    Args:
        checkpoint: The file that `backmix.train.checkpoint.save_checkpoint` wrote.
    """
    try:
        state: Any = load_checkpoint(checkpoint).get("augmentation")
    except RunError:
        return None
    found = state if isinstance(state, dict) else {}
    ends = {key.rpartition("bank.")[2]: value for key, value in found.items() if ".bank." in f".{key}"}
    maps, seen = ends.get("maps"), ends.get("seen")
    if not isinstance(maps, Tensor) or not isinstance(seen, Tensor) or len(maps) != len(seen) or not seen.any():
        return None
    return {"maps": maps, "seen": seen}
