"""Tell which images a run was trained on, and which its threshold was fitted on, by their content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from backmix.data.content import content_keys
from backmix.data.digits import DigitsOnTextures
from backmix.data.folder import image_key
from backmix.data.load import absolute, recorded, training_split
from backmix.data.source import ImageSource
from backmix.errors import RunError
from backmix.files import write_json
from backmix.runs.folder import read_config
from backmix.runs.held_out import Share, Shares, read_shares
from backmix.runs.limits import read_text

FILE = "seen.json"
MOST = 200_000  # The contents of more images are not kept.
_LENGTH = 16  # Hexadecimal digits of a SHA-256: by chance two of a million images agree once in 37 million times.


@dataclass(frozen=True)
class Seen:
    """The number of images of a test or a calibration that a run knows already.

    Attributes:
        trained: The number of images that the run was trained on; None: most of them, but the run does not say which.
        calibrated: The number of images that its threshold was fitted on.
    """

    trained: int | None = 0
    calibrated: int = 0


def write_seen(
    run: Path,
    source: ImageSource,
    trained: Tensor,
    calibration: ImageSource,
    calibrated: Tensor,
    *,
    workers: int = 2,
) -> None:
    """Write the contents of the images of a training into the folder of its run.

    Nothing is written for drawn images, which are known by their names, and for very many images.

    Args:
        run: The folder of the run.
        source: The images that were trained on.
        trained: (M,) int64, their positions in `source`.
        calibration: The images that the threshold was fitted on.
        calibrated: (C,) int64, their positions in `calibration`.
        workers: The number of threads that read images.
    """
    if isinstance(source, DigitsOnTextures) or len(trained) + len(calibrated) > MOST:
        return
    write_json(
        run / FILE,
        {
            "trained": sorted(_contents(source, trained.tolist(), workers)),
            "calibrated": sorted(_contents(calibration, calibrated.tolist(), workers)),
        },
    )


def find_seen(run: Path, source: ImageSource, known: Tensor, data: str, split: str | None, *, workers: int = 2) -> Seen:
    """Count the images that a run was trained or calibrated on: by content, or by name if the run knows only names.

    Args:
        run: The folder of the run.
        source: The images that it is to be tested or calibrated on.
        known: (N,) int64, the positions of the images of known classes.
        data: The name of the images, as `backmix.data.load_source` takes it.
        split: The split of the images; None if the data is not divided.
        workers: The number of threads that read images.
    """
    try:
        kept = json.loads(read_text(run / FILE))
        trained, calibrated = set(kept["trained"]), set(kept["calibrated"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError, RunError):
        return _seen_by_name(run, source, known, absolute(data), split)
    found = _contents(source, known.tolist(), workers)
    return Seen(sum(key in trained for key in found), sum(key in calibrated for key in found))


def _seen_by_name(run: Path, source: ImageSource, known: Tensor, data: str, split: str | None) -> Seen:
    shares: Shares | None = None
    try:
        shares = read_shares(run)
        trained_on: str | None = shares.data
    except RunError:
        typed = (read_config(run).get("arguments") or {}).get("data")
        trained_on = absolute(typed) if isinstance(typed, str) else None
    if data != trained_on:
        return Seen()
    training = training_split(recorded(data))
    if shares is None:
        return Seen(None if split == training else 0)
    names = {image_key(source, i) for i in known.tolist()}
    calibrated = _among(shares.calibration, split, names)
    free = _among(shares.test, split, names)
    return Seen(len(names - calibrated - free) if split == training else 0, len(calibrated))


def _among(share: Share, split: str | None, names: set[str]) -> set[str]:
    if share.split != split:
        return set()
    return set(names) if share.images is None else names & set(share.images)


def _contents(source: ImageSource, positions: list[int], workers: int) -> list[str]:
    keys = content_keys(source, positions, workers=workers)
    return [key.hex()[:_LENGTH] for key in keys if isinstance(key, bytes)]
