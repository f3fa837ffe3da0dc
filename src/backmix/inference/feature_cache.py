"""Keep what costs time between runs, features above all, in one file of bounded size that any process may delete."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backmix.errors import in_one_line

LIMIT = 2 * 2**30
"""The largest size of the file in bytes. The features that were not used for the longest time are removed first."""

FILE = "features.sqlite"
_LAYOUT = 1
_WAIT = 60.0  # The seconds to wait while another process writes.
_AT_ONCE = 500  # The number of keys in one question; SQLite takes at most 999 in old versions.

Features = npt.NDArray[np.float32]


def cache_folder(asked: str | None) -> Path | None:
    """Return the folder of the features that are kept between runs; None if nothing is kept.

    Args:
        asked: The folder that a person asked for, or "none"; None: the usual one.
    """
    if asked is None:
        return default_folder()
    return None if asked == "none" else Path(asked).expanduser()


def default_folder() -> Path:
    """Return the folder for what is kept between runs: `$BACKMIX_CACHE`, or "backmix" in the user's cache folder."""
    given = os.environ.get("BACKMIX_CACHE")
    if given:
        return Path(given).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("backmix", appauthor=False)


class FeatureCache:
    """A table from (space, content) to a vector of features, or to other bytes.

    The space says by what a value was computed: for features the weights, preprocessing, precision and engine. The
    content is a key of what it was computed from: for features that of the image, see
    `backmix.data.content.content_key`. Several processes and threads may use one file. A file that cannot be read or
    written any more is no error: from then on values are kept in memory, and `note` says why.

    Args:
        folder: The folder of the file, which is made if it is missing. None: features are kept in memory alone.
        limit: The largest size of the file in bytes.

    Attributes:
        note: One line that says why the file is not used any more; None while it works, and if there is none.
    """

    def __init__(self, folder: Path | None, *, limit: int = LIMIT) -> None:
        self.limit = limit
        self.note: str | None = None
        self._lock = threading.Lock()
        self._memory: dict[tuple[str, bytes], bytes] | None = {} if folder is None else None
        if folder is None:
            return
        self.path = folder / FILE
        try:
            if folder.is_file():
                raise NotADirectoryError("the cache is a folder, and this is a file")
            folder.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as file, file:
                (layout,) = file.execute("PRAGMA user_version").fetchone()
                if layout not in (0, _LAYOUT):
                    raise sqlite3.DatabaseError(f"layout {layout}, and this version reads {_LAYOUT}")
                if layout == 0:
                    file.execute("PRAGMA auto_vacuum = INCREMENTAL")
                    file.execute(
                        "CREATE TABLE IF NOT EXISTS features (space TEXT, content BLOB, used REAL, value BLOB, "
                        "PRIMARY KEY (space, content)) WITHOUT ROWID"
                    )
                    file.execute("CREATE INDEX IF NOT EXISTS by_use ON features (used)")
                    file.execute(f"PRAGMA user_version = {_LAYOUT}")
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def find(self, space: str, contents: Sequence[bytes]) -> dict[bytes, Features]:
        """Return the features (C,) float32 by content, of those contents that are kept."""
        values = self.find_bytes(space, contents)
        try:
            return {content: np.frombuffer(value, dtype="<f4").copy() for content, value in values.items()}
        except ValueError as error:
            self._give_up(error)
            return {}

    def keep(self, space: str, features: Mapping[bytes, Features] | Iterable[tuple[bytes, Features]]) -> None:
        """Keep the features (C,) float32 of some images, all or none of them."""
        pairs = features.items() if isinstance(features, Mapping) else features
        self.keep_bytes(space, {content: value.astype("<f4").tobytes() for content, value in pairs})

    def find_bytes(self, space: str, contents: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values by content, of those contents that are kept."""
        if self._memory is not None:
            kept = self._memory
            return {content: kept[space, content] for content in contents if (space, content) in kept}
        found: dict[bytes, bytes] = {}
        try:
            with self._lock, closing(self._open()) as file, file:
                for start in range(0, len(contents), _AT_ONCE):
                    part = contents[start : start + _AT_ONCE]
                    marks = ",".join("?" * len(part))
                    found |= file.execute(
                        f"SELECT content, value FROM features WHERE space = ? AND content IN ({marks})", (space, *part)
                    )
                now = time.time()
                file.executemany(
                    "UPDATE features SET used = ? WHERE space = ? AND content = ? AND used < ?",
                    [(now, space, content, now - 86400) for content in found],
                )
        except sqlite3.Error as error:
            self._give_up(error)
        return found

    def keep_bytes(self, space: str, values: Mapping[bytes, bytes]) -> None:
        """Keep some values by content, all or none of them."""
        if self._memory is not None:
            self._memory |= {(space, content): value for content, value in values.items()}
            return
        now = time.time()
        rows = [(space, content, now, value) for content, value in values.items()]
        try:
            with self._lock, closing(self._open()) as file:
                with file:
                    file.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", rows)
                self._shrink(file)
        except sqlite3.Error as error:
            self._give_up(error)
            self.keep_bytes(space, values)

    def __len__(self) -> int:
        """Return the number of values that are kept."""
        if self._memory is not None:
            return len(self._memory)
        with self._lock, closing(self._open()) as file:
            (count,) = file.execute("SELECT COUNT(*) FROM features").fetchone()
        return int(count)

    def _open(self) -> sqlite3.Connection:
        # Each use has a connection of its own, because a connection belongs to one thread and does not survive a fork.
        return sqlite3.connect(self.path, timeout=_WAIT)

    def _shrink(self, file: sqlite3.Connection) -> None:
        """Remove the features that were not used for the longest time while the file is larger than its limit."""
        while self._bytes(file) > self.limit:
            (count,) = file.execute("SELECT COUNT(*) FROM features").fetchone()
            if count == 0:
                return
            with file:
                file.execute(
                    "DELETE FROM features WHERE (space, content) IN "
                    "(SELECT space, content FROM features ORDER BY used LIMIT ?)",
                    (max(1, count // 10),),
                )
            file.execute("PRAGMA incremental_vacuum").fetchall()

    @staticmethod
    def _bytes(file: sqlite3.Connection) -> int:
        (pages,) = file.execute("PRAGMA page_count").fetchone()
        (free,) = file.execute("PRAGMA freelist_count").fetchone()
        (size,) = file.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    def _give_up(self, error: Exception) -> None:
        self._memory = {}
        self.note = (
            f"{self.path} is not used ({in_one_line(error)}), so the features of these images are not kept for the "
            "next run. Make room on its disk or delete it, or give another --cache."
        )
