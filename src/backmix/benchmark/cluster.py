"""Run a grid on a Ray cluster, with one task for each cell, and collect the results."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from backmix.benchmark.cell import CHECKPOINT, finished, run_cell
from backmix.benchmark.grid import Cell
from backmix.benchmark.grid_options import GridOptions
from backmix.benchmark.runner import (
    ERROR,
    GridReport,
    Silent,
    Watcher,
    cell_folder,
    collect_results,
    keep_error,
)
from backmix.errors import DataError, RunError, in_one_line
from backmix.files import locked, write_bytes, write_text
from backmix.train.loop import Progress

TOKEN = ".grid"
SECONDS_BETWEEN_REPORTS = 1.0


def run_on_cluster(
    cells: Sequence[Cell],
    out: Path,
    options: GridOptions,
    *,
    address: str = "local",
    cpus_per_cell: float = 1,
    gpus_per_cell: float = 0,
    watcher: Watcher | None = None,
) -> GridReport:
    """Run the unfinished cells of a grid on a cluster, as `backmix.benchmark.runner.run_grid` does on one machine.

    Every node needs this package, and the data under the same path. If the nodes share the folder of the grid, a cell
    whose node died goes on from its last epoch on another node. If they do not, the cell begins anew on another node,
    and its run folder is sent to the folder of the grid when it is finished.

    Args:
        cells: The cells of the grid.
        out: The folder of the grid on the machine that starts the grid.
        options: The options that all cells share.
        address: "local" for a cluster of this machine alone, "auto" or host:port for a cluster that already runs.
        cpus_per_cell: The number of processors for each cell. PyTorch uses as many threads.
        gpus_per_cell: The number of accelerators for each cell. With 0.5, two cells share one accelerator.
        watcher: The object that is notified of the progress.

    Raises:
        DataError: If Ray is not installed.
        RunError: If the cluster cannot be reached, if no node has the resources that a cell takes, or if another
            process works on the same folder.
    """
    ray = _import_ray(address)
    watcher = watcher or Silent()
    out = out.resolve()
    with locked(out), _connected(ray, address):
        _check_resources(ray, cpus_per_cell, gpus_per_cell)
        done = {cell.name: finished(cell_folder(out, cell)) for cell in cells}
        report = GridReport([], before=sum(metrics is not None for metrics in done.values()))
        token = secrets.token_hex(8)
        write_text(out / TOKEN, token)
        board = _start_board(ray)
        # There is no limit on retries, because the death of a node is not the fault of the cell. A cell that raises an
        # error is not tried again.
        task = ray.remote(num_cpus=cpus_per_cell, num_gpus=gpus_per_cell, max_retries=-1)(_run)
        waiting = {}
        for cell in cells:
            if done[cell.name] is None:
                waiting[task.remote(cell, str(out), token, options, board)] = cell
        begun: set[str] = set()
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=SECONDS_BETWEEN_REPORTS)
            _notify(ray, board, list(waiting.values()), begun, watcher)
            for reference in ready:
                cell = waiting.pop(reference)
                folder = cell_folder(out, cell)
                try:
                    metrics = _store(ray.get(reference), folder)
                except Exception as error:
                    report.failed[cell.name] = keep_error(folder, _cause(error))
                    watcher.end(cell, None, report.failed[cell.name])
                else:
                    (folder / ERROR).unlink(missing_ok=True)
                    watcher.end(cell, metrics, None)
                    collect_results(out)
        (out / TOKEN).unlink(missing_ok=True)
        report.rows = collect_results(out)
    return report


def _run(cell: Cell, out: str, token: str, options: GridOptions, board: Any) -> dict[str, bytes] | None:
    """Run a cell on a node, and return its files; None if they already lie in the folder of the grid."""
    folder = cell_folder(Path(out), cell)
    reported = 0.0

    def on_step(progress: Progress) -> None:
        nonlocal reported
        if time.monotonic() - reported >= SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            board.put.remote(cell.name, progress)

    board.put.remote(cell.name, None)
    # If a node is only cut off from the others, its process goes on. Two processes must not write to one folder.
    with _alone(folder):
        run_cell(cell, folder, options, on_step=on_step)
    try:
        shared = (Path(out) / TOKEN).read_text(encoding="utf-8") == token
    except OSError:
        shared = False
    if shared:
        return None
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (CHECKPOINT, ".lock")
    }


class _Board:
    """The latest progress of each cell, as the nodes reported it."""

    def __init__(self) -> None:
        self.latest: dict[str, Progress | None] = {}

    def put(self, name: str, progress: Progress | None) -> None:
        self.latest[name] = progress

    def take(self) -> dict[str, Progress | None]:
        latest, self.latest = self.latest, {}
        return latest


def _start_board(ray: Any) -> Any:
    """Start the board on the node that starts the grid, so that the board outlives the other nodes."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return ray.remote(num_cpus=0)(_Board).options(scheduling_strategy=here).remote()


def _notify(ray: Any, board: Any, cells: Sequence[Cell], begun: set[str], watcher: Watcher) -> None:
    """Pass the latest progress of the cells on to the watcher."""
    try:
        latest: dict[str, Progress | None] = ray.get(board.take.remote(), timeout=10)
    except Exception:  # A failure to show progress must not stop the grid.
        return
    for cell in cells:
        if cell.name in latest:
            if cell.name not in begun:
                begun.add(cell.name)
                watcher.begin(cell)
            progress = latest[cell.name]
            if progress is not None:
                watcher.step(cell, progress)


def _store(files: dict[str, bytes] | None, folder: Path) -> dict[str, Any]:
    """Write the files that a node sent, metrics.json last, and return the content of metrics.json."""
    for name, content in sorted((files or {}).items(), key=lambda item: item[0] == "metrics.json"):
        write_bytes(folder / name, content)
    metrics = finished(folder)
    if metrics is None:
        raise RunError(f"{folder} has no metrics.json although its cell ended; do the nodes share this folder in part?")
    return metrics


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works on a cell."""
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(folder))
                break
            except RunError:
                time.sleep(1)
        yield


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """Connect to the cluster. A connection that already exists is used and stays open."""
    if ray.is_initialized():
        yield
        return
    try:
        if address == "local":
            _start_local(ray)
        else:
            ray.init(address=address, log_to_driver=False)
    except Exception as error:
        raise RunError(f"no Ray cluster at {address}: {in_one_line(error)}. Start one with `ray start`.") from error
    try:
        yield
    finally:
        ray.shutdown()


def _start_local(ray: Any) -> None:
    """Start a cluster of this machine alone that speaks to no other one.

    Without its dashboard, Ray still starts the process that would report usage. Reports are off, but it asks the
    metadata services of Azure, Google and Amazon in which cloud it is. Ray goes on without it where its port is taken.
    """
    told = logging.getLogger("ray._private.services")
    before = told.disabled
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told.disabled = True  # It would tell that the port is taken.
        try:
            ray.init(
                _node_ip_address="127.0.0.1",
                include_dashboard=False,
                dashboard_host="127.0.0.1",
                dashboard_port=taken.getsockname()[1],
                log_to_driver=False,
            )
        finally:
            told.disabled = before


def _check_resources(ray: Any, cpus: float, gpus: float) -> None:
    """Raise RunError if no node has the resources that a cell takes, because its task would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        have = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes)
        raise RunError(f"a cell takes {cpus:g} CPU and {gpus:g} GPU, which no node of the cluster has ({have})")


def _cause(error: BaseException) -> BaseException:
    """Return the error that the cell raised, without the wrapping of Ray."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def _import_ray(address: str) -> Any:
    if address == "local" and "ray" not in sys.modules:
        # Ray reads it when it is imported. Without it, Ray takes the outward address where it is given the loopback
        # one, and its nodes listen there. It finds that address by a socket to 8.8.8.8, though it sends nothing.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError:
        raise DataError('a grid on a cluster needs Ray: pip install "backmix[cluster]"') from None
    return ray
