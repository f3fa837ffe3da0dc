"""Measure an audit of many images: its peak memory, its processor time, and its result after a kill and a resume.

    python benchmarks/audit_memory.py DATA/tiny-imagenet/valid-00000-of-00001.parquet

Each size is audited at 224 px with saliency masks. The network has one layer, so that the time measured is the time of
the audit. The smallest size is audited twice: once without a break, and once killed (SIGKILL) and resumed; both results
must be the same to the byte. Every other size is killed and resumed too. The script writes results/audit-memory.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from backmix.audit.journal import FILE, RECORD
from backmix.files import write_json

NETWORK = """
import torch

torch.manual_seed(0)
layer = torch.nn.Conv2d(3, 200, 16, 16).eval()


@torch.no_grad()
def net(images):
    return layer(images).mean((2, 3))


net.image_size = 224
"""
KILLED = 0.15, 0.45
"""The approximate shares of the images that are in the journal when the audit is killed."""
BYTES = RECORD.itemsize * 4 / 3 * 7
"""The bytes that an image takes in the journal: seven sets, in base64."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", default="1000,10000")
    parser.add_argument("--results", type=Path, default=Path("results/audit-memory.json"))
    options = parser.parse_args()
    sizes = sorted(int(size) for size in options.sizes.split(","))
    rows = []
    with tempfile.TemporaryDirectory(prefix="audit-memory-") as name:
        folder = Path(name)
        (folder / "one_layer.py").write_text(NETWORK, encoding="utf-8")
        table = pq.read_table(options.data)
        whole: bytes | None = None
        for size in sizes:
            data = folder / f"test-{size}.parquet"
            pq.write_table(table.slice(0, size), data)
            if size == sizes[0]:
                rows.append(run(folder, data, folder / f"whole-{size}", size, kills=0))
                whole = (folder / f"whole-{size}" / "images.csv").read_bytes()
            rows.append(run(folder, data, folder / f"killed-{size}", size, kills=len(KILLED)))
            if size == sizes[0]:
                same = (folder / f"killed-{size}" / "images.csv").read_bytes() == whole
                rows[-1]["same_as_without_a_break"] = same
            print(json.dumps(rows[-1]), flush=True)
    write_json(options.results, {"network": "one layer, 200 outputs", "image_size": 224, "audits": rows})


def run(folder: Path, data: Path, out: Path, size: int, *, kills: int) -> dict[str, object]:
    """Run one audit that is killed `kills` times; return the largest peak and the total time of its processes."""
    words = [
        sys.executable,
        "-m",
        "backmix",
        "audit",
        "one_layer:net",
        str(data),
        "--masks",
        "saliency",
        "--out",
        str(out),
    ]
    usages = []
    for number, share in enumerate([*KILLED[:kills], None]):
        process = subprocess.Popen([*words, *(["--resume"] if number else [])], cwd=folder)
        if share is not None:
            kill_at(process, out / FILE, share * size * BYTES)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != (0 if share is None else -signal.SIGKILL):
            raise SystemExit(f"the audit of {size} images ended with {process.returncode}")
        usages.append(usage)
    lines = (out / "images.csv").read_text(encoding="utf-8").count("\n") - 1
    return {
        "images": size,
        "rows": lines,
        "kills": kills,
        "peak_mb": round(max(usage.ru_maxrss for usage in usages) / 1024),
        "cpu_seconds": round(sum(usage.ru_utime + usage.ru_stime for usage in usages), 1),
    }


def kill_at(process: subprocess.Popen[bytes], journal: Path, size: float) -> None:
    """Kill an audit when its journal has `size` bytes."""
    while not (journal.exists() and journal.stat().st_size >= size):
        if process.poll() is not None:
            raise SystemExit("the audit ended before it could be killed")
        time.sleep(0.02)
    process.kill()


if __name__ == "__main__":
    main()
