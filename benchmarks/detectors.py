"""Time detectors that measure distances beside the same scores in NumPy, and kNN beside a flat index of faiss.

Features of class clusters, as behind a ReLU. The peers are what one would write: arrays in the dtype of the features,
float32, no loop over classes or images. Of faiss it is `IndexFlatL2` where it is importable; else kNN is compared
with NumPy's matrix product and `partition`, and the result says so. Product and peer take turns, and the ratio is the
median of the ratios of the rounds. Libraries get the same number of threads.

Run: python benchmarks/detectors.py [--threads 2] [--rounds 11] [--json results/detectors-speed.json]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--scores", type=int, default=2000)
    parser.add_argument("--training", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--wrapped", action="store_true", help="time pytorch-ood too, once")
    parser.add_argument("--json", type=Path, default=Path("results/detectors-speed.json"))
    return parser.parse_args()


def main() -> None:
    args = arguments()
    # The libraries read these when they are loaded, so they are imported afterwards.
    wanted = dict.fromkeys(THREADS, str(args.threads))
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
    measure(args)


def measure(args: argparse.Namespace) -> None:
    import torch
    from rich.console import Console
    from rich.table import Table

    from backmix.detectors import DETECTORS, PytorchOOD
    from backmix.files import write_json

    torch.set_num_threads(args.threads)
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(args.classes, args.features, generator=random)

    def drawn(count: int) -> tuple[Any, Any]:
        labels = torch.arange(count) % args.classes
        return (centres[labels] + 2 * torch.randn(count, args.features, generator=random)).relu(), labels

    (training, labels), (test, _) = drawn(args.training), drawn(args.scores)
    head = torch.nn.Linear(args.features, args.classes).requires_grad_(False)
    logits, seen = head(training), head(test)
    peers, knn_peer = peers_of(training.numpy(), labels.numpy(), head, args.threads)
    result: dict[str, Any] = {
        "setting": {name: value for name, value in vars(args).items() if isinstance(value, int) and name != "wrapped"},
        "knn_peer": knn_peer,
        "detectors": {},
    }
    table = Table("", "peer", title=f"{args.scores:,} scores, {args.training:,} x {args.features} training features")
    for column in ("microseconds a score", "of the peer", "ratio", "largest difference", "pytorch-ood"):
        table.add_column(column, justify="right")
    for name, peer in peers.items():
        more = {"weight": head.weight, "bias": head.bias} if name == "vim" else {}
        detector = DETECTORS[name](**more)
        detector.fit(logits, training, labels)
        ours, theirs = partial(detector, seen, test), partial(peer, test.numpy())
        entry = paired(lambda ours=ours: ours().numpy(), theirs, args.rounds, args.scores)
        if args.wrapped:
            wrapped = PytorchOOD(name, **more)
            wrapped.fit(logits, training, labels)
            begin = time.perf_counter()
            wrapped(seen, test)
            entry["pytorch_ood"] = 1e6 * (time.perf_counter() - begin) / args.scores
        result["detectors"][name] = entry
        numbers = [f"{entry['microseconds']:.1f}", f"{entry['peer_microseconds']:.1f}", f"{entry['ratio']:.2f}"]
        numbers += [f"{entry['largest_difference']:.0e}", f"{entry.get('pytorch_ood', 0):.0f}"]
        table.add_row(name, knn_peer if name == "knn" else "NumPy", *numbers)
    Console().print(table)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.json, result)


def peers_of(training: Any, labels: Any, head: Any, threads: int) -> tuple[dict[str, Callable[[Any], Any]], str]:
    """Return the peers by the name of the detector, each a function of features (B, C), and the name of kNN's."""
    import numpy as np

    wide = training.astype(np.float64)
    means = np.stack([wide[labels == k].mean(0) for k in range(labels.max() + 1)])
    centre = wide.mean(0)
    within = wide - means[labels]
    precision = np.linalg.inv(within.T @ within).astype(np.float32)
    background = np.linalg.inv((wide - centre).T @ (wide - centre)).astype(np.float32)
    middle, offsets = centre.astype(np.float32), (means - centre).astype(np.float32)
    weight, bias = head.weight.numpy(), head.bias.numpy()
    origin = -np.linalg.pinv(weight) @ bias
    scatter = (wide - origin).T @ (wide - origin)
    rest = np.linalg.eigh(scatter)[1][:, : training.shape[1] - min(training.shape) // 2].astype(np.float32)
    residual = np.linalg.norm((training - origin) @ rest, axis=1)
    alpha = (training @ weight.T + bias).max(1).mean() / residual.mean()

    def squares(gaps: Any) -> Any:
        turned = gaps @ precision
        lengths = ((offsets @ precision) * offsets).sum(1)
        return (turned * gaps).sum(1) + (lengths - 2 * turned @ offsets.T).min(1)

    def mahalanobis(features: Any) -> Any:
        return squares(features - middle) / 2

    def rmd(features: Any) -> Any:
        gaps = features - middle
        return squares(gaps) - ((gaps @ background) * gaps).sum(1)

    def vim(features: Any) -> Any:
        logits = features @ weight.T + bias
        top = logits.max(1)
        energy = top + np.log(np.exp(logits - top[:, None]).sum(1))
        return alpha * np.linalg.norm((features - origin) @ rest, axis=1) - energy

    def unit(features: Any) -> Any:
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    k = min(50, int(np.bincount(labels).min()))
    kept = unit(training)
    try:
        import faiss
    except ImportError:

        def knn(features: Any) -> Any:
            found = [
                np.partition(part @ kept.T, len(kept) - k, axis=1)[:, len(kept) - k]
                for part in np.array_split(unit(features), max(1, len(features) // 256))
            ]
            return np.sqrt(np.maximum(0, 2 - 2 * np.concatenate(found)))

        name = "NumPy"
    else:
        faiss.omp_set_num_threads(threads)
        index = faiss.IndexFlatL2(kept.shape[1])
        index.add(kept)

        def knn(features: Any) -> Any:
            return np.sqrt(index.search(unit(features), k)[0][:, -1])

        name = f"faiss {faiss.__version__}, IndexFlatL2"
    return {"mahalanobis": mahalanobis, "rmd": rmd, "vim": vim, "knn": knn}, name


def paired(product: Callable[[], Any], peer: Callable[[], Any], rounds: int, scores: int) -> dict[str, float]:
    """Return the median times a score in microseconds, and the median ratio, of calls that take turns."""
    ours, theirs = product(), peer()
    times = []
    for number in range(rounds):
        calls = (product, peer) if number % 2 else (peer, product)
        spent = {}
        for call in calls:
            begin = time.perf_counter()
            call()
            spent[call] = 1e6 * (time.perf_counter() - begin) / scores
        times.append((spent[product], spent[peer]))
    return {
        "microseconds": statistics.median(a for a, _ in times),
        "peer_microseconds": statistics.median(b for _, b in times),
        "ratio": statistics.median(a / b for a, b in times),
        "smallest_ratio": min(a / b for a, b in times),
        "largest_ratio": max(a / b for a, b in times),
        "largest_difference": float(abs(ours - theirs).max() / abs(theirs).mean()),
    }


if __name__ == "__main__":
    main()
