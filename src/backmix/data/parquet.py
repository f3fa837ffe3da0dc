"""Parquet files, and data sets of the Hugging Face hub.

Both are read with `datasets`, which keeps the table as a memory-mapped Arrow file in its cache folder. An image is read
when it is asked for, so memory does not grow with the data. `pip install "backmix[data]"` installs the packages needed.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Any

from backmix.data.images import readable
from backmix.data.table import BINARY, TableSource
from backmix.errors import DataError


class ParquetSource(TableSource):
    """A local Parquet data set: one file, or a folder of files `<split>.parquet` or `<split>-00000-of-00003.parquet`.

    A row without bytes may name a file in this folder, or in the folder of the one file.

    Args:
        path: The file or folder. The files may also lie in `data/` inside the folder.
        split: The name of the split in the file names; may be None if there is only one split.
        cache_dir: The folder in which `datasets` keeps its Arrow copy; by default its own cache folder.

    Raises:
        DataError: If there is no such file or split, a part is missing, or a file is not Parquet; also as in
            `TableSource`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str | None = None,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        found = parquet_splits(path)
        if split is None and len(found) > 1:
            raise DataError(f"{readable(path)} has the splits {', '.join(found)}; say which one to use")
        split = next(iter(found)) if split is None else split
        if split not in found:
            raise DataError(f"{readable(path)} has no split {split!r}; it has {', '.join(found)}")
        datasets = _import_datasets()
        quiet = datasets.is_progress_bar_enabled()
        datasets.disable_progress_bars()
        try:
            # Paths are escaped, because `datasets` takes brackets and stars in a path for a pattern.
            files = [glob.escape(str(file.resolve())) for file in found[split]]
            table = datasets.Dataset.from_parquet(files, cache_dir=cache_dir and os.fspath(cache_dir))
        except Exception as error:
            raise DataError(f"{readable(path)} cannot be read as Parquet: {_cause(error)}") from error
        finally:
            if quiet:
                datasets.enable_progress_bars()
        folder = Path(path)
        super().__init__(table, f"{readable(path)}:{split}", [folder if folder.is_dir() else folder.parent])


class HubSource(TableSource):
    """A data set of the Hugging Face hub, downloaded once into the cache of `datasets`. No code from the hub is run.

    Args:
        name: The name of the data set, "owner/name".
        split: The name of the split on the hub; may be None if there is only one split.
        config: The name of the configuration, if the data set has several.

    Raises:
        DataError: If there is no connection, or no such data set or split; also as in `TableSource`.
    """

    def __init__(self, name: str, split: str | None = None, *, config: str | None = None) -> None:
        datasets = _import_datasets()
        if split is None:
            found = hub_splits(name, config=config)
            if len(found) != 1:
                raise DataError(f"{name} has the splits {', '.join(found)}; say which one to use")
            split = found[0]
        try:
            table = datasets.load_dataset(name, config, split=split)
        except Exception as error:
            raise _hub_error(name, error) from error
        super().__init__(table, f"{name}:{split}", _downloaded(name))


def parquet_splits(path: str | os.PathLike[str]) -> dict[str, list[Path]]:
    """Find the splits of a local Parquet data set.

    Args:
        path: A `.parquet` file, or a folder with such files directly in it or in `data/` inside.

    Returns:
        Split name -> its files in order.

    Raises:
        DataError: If the path does not exist, there is no Parquet file, or parts of a split are missing.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"there is no file or folder {readable(root)}")
    files = [root] if root.is_file() else _parquet_files(root)
    splits: dict[str, list[Path]] = {}
    parts: dict[str, int] = {}
    for file in files:
        match = re.fullmatch(r"(.+?)(-\d+(-of-(\d+))?(-[0-9a-f]{8,})?)?", file.stem)
        split = match[1] if match else file.stem
        splits.setdefault(split, []).append(file)
        if match and match[4]:
            parts[split] = int(match[4])
    for split, total in parts.items():
        if root.is_dir() and len(splits[split]) != total:
            raise DataError(
                f"{readable(root)}: split {split!r} should be in {total} files by their names, but there are "
                f"{len(splits[split])}; fetch the missing ones"
            )
    return splits


def has_images(file: Path) -> bool:
    """Return whether a Parquet file has a column that may hold encoded images; False if it cannot be read."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pq.read_schema(file)
    except (ImportError, OSError, ValueError):  # pyarrow's own errors are of these kinds.
        return False

    def holds_bytes(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
        return str(kind) in BINARY

    return any(holds_bytes(field.type) for field in schema if field.name != "mask")


def hub_splits(name: str, *, config: str | None = None) -> list[str]:
    """Return the names of the splits of a data set of the hub.

    Raises:
        DataError: If there is no connection, or no such data set.
    """
    datasets = _import_datasets()
    try:
        return [str(split) for split in datasets.get_dataset_split_names(name, config)]
    except Exception as error:
        raise _hub_error(name, error) from error


def _parquet_files(root: Path) -> list[Path]:
    files = sorted(root.glob("*.parquet")) or sorted(root.glob("data/*.parquet"))
    if not files:
        raise DataError(f"there are no .parquet files in {readable(root)}, nor in data/ inside")
    return files


def _downloaded(name: str) -> list[Path]:
    """Return the folders that hold the files of a data set of the hub, where its images are files of their own."""
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    repository = "--".join(["datasets", *name.split("/")])
    return [Path(HF_HUB_CACHE, repository), Path(datasets.config.DOWNLOADED_DATASETS_PATH)]


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError('reading Parquet or hub data needs more packages: pip install "backmix[data]"') from None
    return datasets


def _hub_error(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name!r} is neither here nor could it be loaded from the Hugging Face hub: {_cause(error)}. Check the "
        f"spelling and the network (HF_HUB_OFFLINE must not be set), or give a local folder"
    )


def _cause(error: BaseException) -> str:
    """Return the first line of the original cause of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
