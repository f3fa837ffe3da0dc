"""Figures in the documentation come from the result files of the repository."""

import json
import subprocess
import sys
from pathlib import Path

from backmix.audit.page_words import MEASURED

ROOT = Path(__file__).parents[1]


def test_results_page_and_readme_say_what_the_result_files_say():
    command = [sys.executable, str(ROOT / "docs" / "make_results.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_audit_page_says_how_far_estimated_masks_were_off():
    errors = {}
    for file in sorted((ROOT / "results").glob("study-*.json")):
        kind = file.stem.split("-")[1]
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            if "audit_estimated" in cell:
                gaps = [100 * cell[masks]["background_gap"]["value"] for masks in ("audit_estimated", "audit")]
                errors.setdefault(kind, []).append(gaps[0] - gaps[1])
    largest = {kind: max(map(abs, of)) for kind, of in errors.items()}
    assert f"on {sum(map(len, errors.values()))} networks" in MEASURED
    assert (
        max(round(largest["digits"]), round(largest["leeds"])) == 3 and "by up to 3 points on handwritten" in MEASURED
    )
    assert round(largest["eth80"]) == 9 and "by up to 9 on objects of four kinds (ETH-80)" in MEASURED
    assert round(largest["msrc"]) == 20 and "by up to 20 on objects of fourteen kinds (MSRC)" in MEASURED
    low = sum(error < 0 for error in errors["msrc"])
    assert low > 0.7 * len(errors["msrc"]) and "there mostly too small" in MEASURED
