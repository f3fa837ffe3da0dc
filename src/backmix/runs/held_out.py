"""The names of the images that a run held out, to calibrate on and to test on, stored in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import msgspec
import torch

from backmix.data.folder import image_key
from backmix.data.load import absolute, load_source, recorded, recorded_here
from backmix.data.source import ImageSource, Subset
from backmix.errors import DataError, RunError, in_one_line
from backmix.files import write_json
from backmix.runs.limits import read_text


@dataclass(frozen=True)
class Share:
    """Some images of a data set.

    Attributes:
        split: The name of the split that holds the images; None if the data is not divided.
        images: The names of the images by `image_key`; None: all images of the split.
    """

    split: str | None = None
    images: list[str] | None = None


@dataclass(frozen=True)
class Shares:
    """The images that a run held out.

    Attributes:
        data: The name of the data for `backmix.data.load_source`; a path is absolute.
        calibration: The known images that the threshold was fitted on.
        test: The images that nothing was fitted on: images of known classes, and of classes that the run does not know.
        typed: Whether a person has named the data, so that it may be data of the hub. It is not written into the file.
    """

    data: str
    calibration: Share = field(default_factory=Share)
    test: Share = field(default_factory=Share)
    typed: bool = False

    @property
    def opened(self) -> str:
        """The name that `backmix.data.load_source` is given.

        Raises:
            DataError: If it is data of the hub and stands in a file of the run only.
        """
        return recorded(self.data) if self.typed else recorded_here(self.data)


def open_share(shares: Shares, share: Share, *, data: str | None = None) -> ImageSource:
    """Open the images of a share.

    Args:
        shares: The images that the run held out.
        share: `shares.calibration` or `shares.test`.
        data: The name of the data now; None: the name that the run recorded.

    Raises:
        DataError: If the data does not exist any more, or lacks some of the images, or if it is data of the hub that
            nobody has named.
    """
    try:
        source = load_source(data or shares.opened, share.split)
    except DataError as error:
        how = "" if "--moved-to" in str(error) else ". If they have moved, --moved-to DATA says where they are."
        raise DataError(f"the run's own images cannot be opened: {error}{how}") from error
    if share.images is None:
        return source
    number = {image_key(source, i): i for i in range(len(source))}
    gone = [name for name in share.images if name not in number]
    if gone:
        raise DataError(
            f"{len(gone)} of {len(share.images)} held-out images are not in {data or shares.data} any more, "
            f"the first is {gone[0]}. Put them back, say by --moved-to where they are, or give other images, as DATA."
        )
    return Subset(source, torch.tensor([number[name] for name in share.images], dtype=torch.int64))


FILE = "held-out.json"


def write_shares(run: Path, shares: Shares) -> None:
    """Write the names of the held-out images into a run folder."""
    write_json(run / FILE, {name: value for name, value in asdict(shares).items() if name != "typed"})


def read_shares(run: Path, moved: str | None = None) -> Shares:
    """Read the names of the images that a run held out.

    Args:
        run: The run folder.
        moved: Where the data of the run lies now, as DATA; None: where it lay when the run was trained.

    Raises:
        RunError: If the run has no file of them, or the file cannot be read.
    """
    path = run / FILE
    try:
        content = json.loads(read_text(path))
        shares = Shares(content["data"], Share(**content["calibration"]), Share(**content["test"]))
        shares = msgspec.convert(asdict(shares), Shares)  # The types of a dataclass are not checked otherwise.
    except FileNotFoundError:
        raise RunError(
            f"{run} does not say which images it held out: it has no {FILE}. Give the images yourself, as DATA."
        ) from None
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({in_one_line(error)}). Give the images yourself, as DATA.") from error
    return shares if moved is None else replace(shares, data=absolute(moved), typed=True)
