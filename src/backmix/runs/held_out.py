"""Which images of its data a run held out, to calibrate on and to test on, kept by name in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from backmix.data.folder import image_key
from backmix.data.load import load_source
from backmix.data.source import ImageSource, Subset
from backmix.errors import DataError, RunError, in_one_line
from backmix.files import write_json


@dataclass(frozen=True)
class Share:
    """Some images of a data set.

    Attributes:
        split: name of the split they lie in; None where the data is not divided.
        images: which, as `image_key` calls them; None: all of the split.
    """

    split: str | None = None
    images: list[str] | None = None


@dataclass(frozen=True)
class Shares:
    """What a run held out.

    Attributes:
        data: the data as `backmix.data.load_source` takes it, a path made absolute.
        calibration: known images that the threshold was fitted on.
        test: images that nothing was fitted on: known ones, and those of classes the run does not know.
    """

    data: str
    calibration: Share = field(default_factory=Share)
    test: Share = field(default_factory=Share)


def open_share(shares: Shares, share: Share, *, data: str | None = None) -> ImageSource:
    """The images of a share.

    Args:
        shares: what the run held out.
        share: `shares.calibration` or `shares.test`.
        data: where the data is now; None: where it was.

    Raises:
        DataError: when the data is not there any more, or lacks some of the images.
    """
    try:
        source = load_source(data or shares.data, share.split)
    except DataError as error:
        raise DataError(f"the run's own images cannot be opened: {error}") from error
    if share.images is None:
        return source
    number = {image_key(source, i): i for i in range(len(source))}
    gone = [name for name in share.images if name not in number]
    if gone:
        raise DataError(
            f"{len(gone)} of {len(share.images)} held-out images are not in {data or shares.data} any more, "
            f"the first is {gone[0]}. Put them back, or give other images, as DATA."
        )
    return Subset(source, torch.tensor([number[name] for name in share.images], dtype=torch.int64))


FILE = "held-out.json"


def write_shares(run: Path, shares: Shares) -> None:
    """Write what was held out into a run folder."""
    write_json(run / FILE, asdict(shares))


def read_shares(run: Path) -> Shares:
    """What a run held out.

    Raises:
        RunError: when the run does not say, or its file cannot be read.
    """
    path = run / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        shares = Shares(content["data"], Share(**content["calibration"]), Share(**content["test"]))
    except FileNotFoundError:
        raise RunError(
            f"{run} does not say which images it held out: it has no {FILE}. Give the images yourself, as DATA."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({in_one_line(error)}). Give the images yourself, as DATA.") from error
    for share in (shares.calibration, shares.test):
        if share.images is not None and not all(isinstance(name, str) for name in share.images):
            raise RunError(f"{path} cannot be read (images are named by text). Give the images yourself, as DATA.")
    return shares
