"""Make the picture of a report in the README: train on the embedded digits, write the report, take a screenshot.

python docs/make_screenshot.py      # writes docs/images/report.png; needs chromium
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser_pipe import Browser, find_browser  # noqa: E402

FIT = "--known-classes 0,1,2,3,4,5 --model compact-s --augmentation backmix --epochs 9"


def main() -> None:
    if find_browser() is None:
        sys.exit("no chromium or chrome is installed, which makes the picture")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "digits"
        for words in (["fit", "digits:prior=0.8,copies=4", *FIT.split(), "--out", run], ["report", run]):
            subprocess.run([sys.executable, "-m", "backmix", *map(str, words)], check=True)
        with Browser(width=1080, height=900) as browser:
            browser.open(run / "report.html")
            browser.picture(ROOT / "docs" / "images" / "report.png", top=0, height=900)


if __name__ == "__main__":
    main()
