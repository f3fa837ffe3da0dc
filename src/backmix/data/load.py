"""Open data by the name that a person types: a folder, a Parquet file, a hub id or "digits"."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from backmix.data.digits import SPLITS, DigitsOnTextures
from backmix.data.entries import folders_in, is_image, walk
from backmix.data.folder import FolderSource, class_folders
from backmix.data.images import IMAGE_EXTENSIONS, readable
from backmix.data.known import choose_known, holdout_split
from backmix.data.layout import CANONICAL, by_split, class_root, folder_splits
from backmix.data.parquet import HubSource, ParquetSource, has_images, hub_splits, parquet_splits
from backmix.data.source import ImageSource
from backmix.errors import DataError, some_of

__all__ = ["available_splits", "choose_known", "holdout_split", "load_source"]

_HUB_ID = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[\w.-]+)(:(?P<config>[\w.-]+))?")
_DIGITS_OPTIONS: dict[str, Callable[[str], Any]] = {
    "prior": float,
    "contrast": float,
    "image_size": int,
    "seed": int,
    "copies": int,
    "known": tuple,
}


def load_source(spec: str | os.PathLike[str], split: str | None = None, *, few: bool = False) -> ImageSource:
    """Open the data that a person named.

    Args:
        spec: The name of the data, one of
            "digits", or "digits:prior=0.95,known=0123" with options of `DigitsOnTextures`: the embedded data set;
            a folder of class folders;
            a folder that holds folders of class folders as train, val (valid, validation) and test, where further
            folders of class folders are further splits;
            a Parquet file, or a folder of `<split>-*.parquet`;
            "owner/name" or "owner/name:config" of the Hugging Face hub, if there is no path of that name
            ("hub:owner/name" if there is a folder "owner").
            A name that exists as a path means the path. If a folder "digits" here holds images, "./digits" is the
            folder and "digits:" the embedded set, and "digits" alone is an error.
        split: "train", "val", "test" or another name that the data has. Other spellings of these three are understood.
            None: all images if the data is not divided, otherwise the only split, otherwise "train".
        few: Whether a folder may hold images of one class, or images in no class folder, as unknown images and tests
            may. Images in no class folder are of a class that is called like the folder.

    Returns:
        The images. The splits of a divided folder share one numbering of classes: the classes of train come first, then
        the classes that only this split has.

    Raises:
        DataError: If there is no data of that name, no such split, or the data cannot be used.
    """
    if (options := _digits_options(spec)) is not None:
        return DigitsOnTextures(_pick({name: name for name in SPLITS}, split, "digits") or "train", **options)
    if (hub := _hub_id(spec)) is not None:
        name, config = hub
        # Asking for the names of the splits needs the network even if the data is already in the cache.
        actual = (
            split if split in ("train", "test") else _pick(_usual_names(hub_splits(name, config=config)), split, name)
        )
        return HubSource(name, actual, config=config)
    path = _existing(spec)
    if _is_parquet(path):
        return ParquetSource(path, _pick(_usual_names(parquet_splits(path)), split, readable(path)))
    folders = _folder_splits(path, loose=few)
    chosen = _pick(folders, split, readable(path))
    if chosen is None:
        return FolderSource(path, min_classes=1 if few else 2, loose=few)
    return _divided_folder(path, folders, chosen, loose=few)


def available_splits(spec: str | os.PathLike[str]) -> list[str]:
    """Return the names of the splits that `load_source` accepts, "train", "val", "test" first.

    Args:
        spec: The name of the data, as in `load_source`.

    Returns:
        The names; empty for a folder that is not divided.

    Raises:
        DataError: As in `load_source`.
    """
    if _digits_options(spec) is not None:
        return list(SPLITS)
    if (hub := _hub_id(spec)) is not None:
        return list(_usual_names(hub_splits(hub[0], config=hub[1])))
    path = _existing(spec)
    return list(_usual_names(parquet_splits(path)) if _is_parquet(path) else _folder_splits(path, loose=True))


def _digits_options(spec: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the options of the embedded data set, or None if the name means other data."""
    if not isinstance(spec, str) or spec.partition(":")[0] != "digits":
        return None
    if spec == "digits" and (folder := Path(spec)).is_dir() and _holds_data(folder):
        raise DataError(
            "'digits' may be the folder ./digits or the embedded set of handwritten digits; write ./digits for the "
            "folder, or digits: for the embedded set"
        )
    options = {}
    for option in filter(None, spec.partition(":")[2].split(",")):
        name, _, value = (part.strip() for part in option.partition("="))
        if name not in _DIGITS_OPTIONS:
            raise DataError(f"digits has no option {name!r}; it has {', '.join(_DIGITS_OPTIONS)}, as in prior=0.8")
        try:
            options[name] = _DIGITS_OPTIONS[name](value)
        except ValueError:
            raise DataError(f"digits option {name} takes a number, as in prior=0.8 or seed=1; got {value!r}") from None
    return options


def _holds_data(folder: Path) -> bool:
    return any(is_image(path) or path.endswith(".parquet") for path in walk(folder, folder.name))


def _hub_id(spec: str | os.PathLike[str]) -> tuple[str, str | None] | None:
    """Return the name and configuration of a data set of the hub, or None if the name means a path."""
    if not isinstance(spec, str):
        return None
    match = _HUB_ID.fullmatch(spec.removeprefix("hub:"))
    # A mistyped path must not become a request to the network, so the name means a path if there is a folder "owner".
    is_path = Path(spec).exists() or Path(spec.partition("/")[0]).exists()
    if match is None or (is_path and not spec.startswith("hub:")):
        return None
    return match["name"], match["config"]


def _existing(spec: str | os.PathLike[str]) -> Path:
    if not os.fspath(spec).strip():  # An empty shell variable must not mean the current folder.
        raise DataError("no data is named; give a folder of class folders, or '.' for this one")
    path = Path(spec).expanduser()
    if path.exists():
        return path
    similar: list[str] = []
    if path.parent.is_dir():
        similar = difflib.get_close_matches(path.name, os.listdir(path.parent), n=3)
    hint = f" Did you mean {' or '.join(repr(str(path.parent / name)) for name in similar)}?" if similar else ""
    raise DataError(
        f"there is no {readable(path)!r}.{hint} Data is 'digits', a folder of class folders, a Parquet file or folder, "
        f"or an id of the Hugging Face hub, 'owner/name'"
    )


def _is_parquet(path: Path) -> bool:
    """Return whether a path is read as Parquet. Raise DataError for a file of another kind."""
    if path.is_dir():
        files = [*path.glob("*.parquet")] or [*path.glob("data/*.parquet")]
        below = (walk(path / name, name) for name in folders_in(path)) if files else ()
        if not any(is_image(file) for inside in below for file in inside):
            return bool(files)
        tables = [file.name for file in files if has_images(file)]
        if tables:
            raise DataError(
                f"{readable(path)} holds folders of images and tables that may hold images too ({some_of(tables, 3)}); "
                f"move one kind elsewhere, or give a table as DATA"
            )
        return False  # A table of something else, such as metadata, beside class folders.
    if path.suffix.lower() == ".parquet":
        return True
    kind = "one image" if path.suffix.lower() in IMAGE_EXTENSIONS else f"a file of type {path.suffix!r}"
    raise DataError(
        f"{readable(path)} is {kind}; give a folder with one folder of images per class, or a .parquet file (unpack "
        f"an archive first)"
    )


def _usual_names(names: Iterable[str]) -> dict[str, str]:
    return by_split((name, None) for name in names)


def _pick(found: dict[str, str], split: str | None, where: str) -> str | None:
    """Return the name that the data gives to the wanted split; None if the data is not divided."""
    if split is None:
        if len(found) > 1 and "train" not in found:
            raise DataError(f"{where} has the splits {', '.join(found)}; say which one to use")
        return found.get("train", next(iter(found.values()), None))
    wanted = split if split in found else CANONICAL.get(split.lower(), split)
    if wanted in found:
        return found[wanted]
    has = f"it has {', '.join(found)}" if found else "it is not divided into splits"
    raise DataError(f"{where} has no split {split!r}; {has}")


def _folder_splits(path: Path, *, loose: bool = False) -> dict[str, str]:
    return folder_splits(path, class_folders(path, loose=loose))


def _divided_folder(root: Path, folders: dict[str, str], chosen: str, *, loose: bool = False) -> FolderSource:
    if "train" not in folders:
        return FolderSource(class_root(root / chosen), min_classes=1, loose=loose)
    train = FolderSource(class_root(root / folders["train"]))
    if chosen == folders["train"]:
        return train
    source = FolderSource(class_root(root / chosen), classes=train.classes, min_classes=1, loose=loose)
    present = {source.classes[label] for label in source.labels.unique().tolist()}
    if chosen in (folders.get("val"), folders.get("test")) and not present & set(train.classes):
        raise DataError(
            f"{readable(root / chosen)} has none of the classes of {folders['train']}: {some_of(sorted(present))} "
            f"instead of {some_of(train.classes)}"
        )
    return source


def training_split(data: str) -> str | None:
    """Return the default split to train on: "train" if it exists, else the first; None if there are no splits."""
    splits = available_splits(data)
    return "train" if "train" in splits else splits[0] if splits else None


def calibration_split(data: str) -> str | None:
    """Return the default split to calibrate on: "val", else "test", else the last; None if there are no splits."""
    splits = available_splits(data)
    return next((name for name in ("val", "test") if name in splits), splits[-1] if splits else None)


def usual_split(data: str) -> str | None:
    """Return the default split to test on: "test" if it exists, else the last; None if there are no splits."""
    splits = available_splits(data)
    return "test" if "test" in splits else splits[-1] if splits else None


def absolute(data: str) -> str:
    """Return a name that opens the data from any folder: a path is made absolute, a hub id or "digits" stays."""
    path = Path(data).expanduser()
    return os.path.abspath(path) if path.exists() and data.partition(":")[0] != "digits" else data


def recorded(data: str) -> str:
    """Return a name that a run recorded, so that it opens the same data whatever lies in the current folder."""
    return "digits:" if data == "digits" else data


def recorded_here(data: str) -> str:
    """Return a name that a run recorded, as `recorded` does, unless it is data of the hub.

    A run may be a stranger's, and opening data of the hub is a request to another machine with the user's own token. So
    a person has to name such data.

    Raises:
        DataError: If it is data of the hub.
    """
    if _hub_id(data) is not None:
        raise DataError(
            f"they are of the data set {readable(data)} of the hub, which is asked only for what you name yourself: "
            f"--moved-to {readable(data)}"
        )
    return recorded(data)
