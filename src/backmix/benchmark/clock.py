"""A clock whose time survives the process that it ran in."""

from __future__ import annotations

import json
import time
from pathlib import Path

from backmix.files import write_json


class Clock:
    """Seconds spent on something, over all its interruptions; what a killed process did since `store` is lost.

    Args:
        path: JSON file that keeps them; made by `store`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = 0.0
        if path.is_file():
            self.before = float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
        self.begin = time.monotonic()

    def store(self) -> float:
        """Write and return the seconds so far, to a hundredth."""
        seconds = round(self.before + time.monotonic() - self.begin, 2)
        write_json(self.path, {"seconds": seconds})
        return seconds
