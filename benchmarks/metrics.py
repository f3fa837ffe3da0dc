"""Time AUROC and OSCR over a million scores, and compare them with scikit-learn's roc_auc_score in the same run.

Known and unknown scores overlap as they do for a moderately good classifier. `ties` rounds them to two decimals, so
that a million scores take few values. Each figure is the median of several calls; the functions take turns.

Run: python benchmarks/metrics.py [--scores 1000000] [--json results/metrics-speed.json]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from backmix import metrics
from backmix.files import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, default=Path("results/metrics-speed.json"))
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    half = args.scores // 2
    result: dict[str, object] = {
        "scores": args.scores,
        "threads": torch.get_num_threads(),
        "repeats": args.repeats,
        "milliseconds": {},
        "ratio": {},
    }
    for kind in ("distinct", "ties"):
        known = torch.randn(half, generator=generator)
        unknown = torch.randn(args.scores - half, generator=generator) + 1.2
        if kind == "ties":
            known, unknown = (known * 100).round() / 100, (unknown * 100).round() / 100
        correct = torch.rand(half, generator=generator) < 0.9
        truth = np.concatenate([np.zeros(half), np.ones(len(unknown))])
        scores = torch.cat([known, unknown]).numpy()
        calls: dict[str, Callable[[], float]] = {
            "scikit-learn roc_auc_score": lambda t=truth, s=scores: float(roc_auc_score(t, s)),
            "auroc": lambda k=known, u=unknown: metrics.auroc(k, u),
            "oscr": lambda k=known, c=correct, u=unknown: metrics.oscr(k, c, u),
            "open_set_metrics (all six)": lambda k=known, c=correct, u=unknown: metrics.open_set_metrics(k, c, u)[
                "auroc"
            ],
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(args.repeats):
            for name, call in calls.items():
                begin = time.perf_counter()
                call()
                times[name].append(1000 * (time.perf_counter() - begin))
        assert abs(calls["auroc"]() - calls["scikit-learn roc_auc_score"]()) < 1e-9
        found = {name: statistics.median(values) for name, values in times.items()}
        peer = found["scikit-learn roc_auc_score"]
        result["milliseconds"][kind] = found
        result["ratio"][kind] = {name: value / peer for name, value in found.items()}
    table = Table("", title=f"{args.scores:,} scores, median of {args.repeats}")
    for kind in result["ratio"]:
        table.add_column(f"{kind}, ms", justify="right")
        table.add_column("ratio", justify="right")
    for name in result["ratio"]["distinct"]:
        cells = [(result["milliseconds"][kind][name], result["ratio"][kind][name]) for kind in result["ratio"]]
        table.add_row(name, *(text for ms, ratio in cells for text in (f"{ms:.0f}", f"{ratio:.2f}")))
    Console().print(table)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.json, result)


if __name__ == "__main__":
    main()
