"""Figures in the documentation come from the result files of the repository."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_results_page_and_readme_say_what_the_result_files_say():
    command = [sys.executable, str(ROOT / "docs" / "make_results.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
