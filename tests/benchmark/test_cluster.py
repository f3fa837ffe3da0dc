"""A grid on a Ray cluster: two local nodes, one of which dies; and nodes that share no folder."""

import time
from pathlib import Path

import pytest

from backmix.benchmark import cluster
from backmix.benchmark.cell import finished
from backmix.benchmark.cluster import run_on_cluster
from backmix.benchmark.grid import make_grid
from backmix.benchmark.grid_options import GridOptions
from backmix.benchmark.results import read_results
from backmix.benchmark.runner import cell_folder, run_grid
from backmix.errors import DataError, RunError

CELLS = make_grid([("digits", "neal", ["a", "b", "c"])], augmentations=["none", "backmix"])
OPTIONS = GridOptions(epochs=1, detectors=("method",), workers=1, precision="fp32")


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    yield ray
    ray.shutdown()


class Board:
    """Takes what a node says, without Ray."""

    class put:
        @staticmethod
        def remote(name, progress):
            pass


def test_files_of_a_node_without_the_folder_are_sent(tmp_path):
    cell = CELLS[0]
    there, here = tmp_path / "node", tmp_path / "driver"
    files = cluster._run(cell, str(there), "token of another folder", OPTIONS, Board)
    assert {"metrics.json", "model.safetensors", "config.yaml"} <= set(files)
    assert "checkpoint.pt" not in files and ".lock" not in files
    metrics = cluster._store(files, cell_folder(here, cell))
    assert metrics == finished(cell_folder(there, cell)) and metrics["rows"]
    from backmix import OpenSetClassifier

    assert (
        OpenSetClassifier.load(cell_folder(here, cell)).classes
        == OpenSetClassifier.load(cell_folder(there, cell)).classes
    )
    (there / ".grid").write_text("token")
    assert cluster._run(cell, str(there), "token", OPTIONS, Board) is None
    with pytest.raises(RunError, match="no metrics.json"):
        cluster._store(None, tmp_path / "nothing")


def test_without_ray_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(DataError, match=r'pip install "backmix\[cluster\]"'):
        run_on_cluster(CELLS, tmp_path, OPTIONS)


class Killer:
    """Kills a node when the first cell is finished, while another one runs there."""

    def __init__(self, kill):
        self.kill, self.begun, self.ended = kill, [], []

    def begin(self, cell):
        self.begun.append(cell.name)

    def step(self, cell, progress):
        pass

    def end(self, cell, metrics, error):
        self.ended.append(cell.name)
        if len(self.ended) == 1:
            self.kill()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_dies_and_all_cells_are_there(ray, tmp_path, monkeypatch):
    from ray._private import services
    from ray.cluster_utils import Cluster

    # Ray takes 127.0.0.1 for the machine's outward address when it connects; these nodes listen on the loopback alone.
    # It also lets its workers wait for everything else; beside other work the cells would hardly move.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setattr(services, "get_node_ip_address", lambda address=None: "127.0.0.1")

    nodes = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False},
    )
    try:
        second = nodes.add_node(num_cpus=1, node_ip_address="127.0.0.1")
        nodes.wait_for_nodes()
        ray.init(address=nodes.address, log_to_driver=False)
        with pytest.raises(RunError, match="which no node of the cluster has"):
            run_on_cluster(CELLS, tmp_path / "grid", OPTIONS, cpus_per_cell=2)
        killer = Killer(lambda: nodes.remove_node(second, allow_graceful=False))
        report = run_on_cluster(CELLS, tmp_path / "grid", OPTIONS, watcher=killer)
        # The cells may be done before the cluster's health checks have given the killed node up.
        until = time.monotonic() + 120
        while (alive := sum(node["Alive"] for node in ray.nodes())) > 1 and time.monotonic() < until:
            time.sleep(0.5)
        assert alive == 1
    finally:
        ray.shutdown()
        nodes.shutdown()
    assert not report.failed and sorted(killer.ended) == sorted(cell.name for cell in CELLS)
    assert len(report.rows) == len(CELLS) == len(read_results(tmp_path / "grid" / "results.csv"))
    assert not Path(tmp_path / "grid" / ".grid").exists()
    # The same cell alone, without Ray, comes to the same figures.
    alone = run_grid(CELLS[:1], tmp_path / "alone", OPTIONS)
    of_cluster = next(row for row in report.rows if row.key == alone.rows[0].key)
    assert of_cluster.auroc == alone.rows[0].auroc and of_cluster.accuracy == alone.rows[0].accuracy
