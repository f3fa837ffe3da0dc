"""The runner, with cells that train nothing: what is skipped, what goes on, what a failure leaves."""

import dataclasses
import multiprocessing
import time

import pytest

from backmix.benchmark.grid import make_grid
from backmix.benchmark.grid_options import GridOptions
from backmix.benchmark.results import Row, read_results
from backmix.benchmark.runner import cell_folder, collect_results, run_grid
from backmix.errors import DataError, RunError
from backmix.files import locked, write_json

CELLS = make_grid([("cifar10", "cssr", ["a", "b"])])


def row_of(cell, **figures):
    shared = {field.name: 0.5 if "float" in str(field.type) else 1 for field in dataclasses.fields(Row)}
    texts = {field.name: "x" for field in dataclasses.fields(Row) if field.type == "str"}
    return {**shared, **texts, **cell.to_dict(), **figures}


class Fake:
    """Runs cells without training; those named in `broken` raise."""

    def __init__(self, broken=(), error=None):
        self.broken, self.error, self.ran = set(broken), error or DataError("no images"), []

    def __call__(self, cell, folder, options, *, on_step=None):
        path = folder / "metrics.json"
        if not path.is_file():
            self.ran.append(cell)
            if cell.name in self.broken:
                raise self.error
            write_json(path, {"settings": {}, "rows": [row_of(cell, auroc=0.75)]})
        return {"settings": {}, "rows": [row_of(cell, auroc=0.75)]}


class Listening:
    def __init__(self):
        self.heard = []

    def begin(self, cell):
        self.heard.append(("begin", cell.name))

    def step(self, cell, progress):
        pass

    def end(self, cell, metrics, error):
        self.heard.append(("end", cell.name, error))


def test_what_is_finished_is_not_run_again(tmp_path):
    fake = Fake()
    report = run_grid(CELLS[:2], tmp_path, GridOptions(), run=fake)
    assert fake.ran == CELLS[:2] and report.before == 0 and not report.failed
    kept = (tmp_path / "results.csv").read_bytes()
    listening = Listening()
    report = run_grid(CELLS, tmp_path, GridOptions(), run=fake, watcher=listening)
    assert fake.ran == CELLS and report.before == 2
    assert [entry[:2] for entry in listening.heard] == [
        (what, cell.name) for cell in CELLS[2:] for what in ("begin", "end")
    ]
    assert read_results(tmp_path / "results.csv") == report.rows and len(report.rows) == 4
    assert (tmp_path / "results.csv").read_bytes() != kept


def test_a_failure_stops_nothing_and_is_tried_again(tmp_path):
    broken = CELLS[1].name
    report = run_grid(CELLS, tmp_path, GridOptions(), run=Fake([broken]))
    assert report.failed == {broken: "DataError: no images"} and len(report.rows) == 3
    error = (cell_folder(tmp_path, CELLS[1]) / "error.txt").read_text()
    assert "Traceback" in error and "no images" in error
    fake = Fake()
    report = run_grid(CELLS, tmp_path, GridOptions(), run=fake)
    assert fake.ran == [CELLS[1]] and not report.failed and len(report.rows) == 4
    assert not (cell_folder(tmp_path, CELLS[1]) / "error.txt").exists()


def test_our_errors_are_told_whole_and_others_are_cut(tmp_path):
    told = {}
    for kind in (DataError, OSError):
        run = Fake([CELLS[0].name], kind("many words " * 100 + "do\nthis"))
        told[kind] = run_grid(CELLS[:1], tmp_path, GridOptions(), run=run).failed[CELLS[0].name]
    assert told[DataError].endswith("many words do this") and "\n" not in told[DataError]
    assert told[OSError].endswith("...") and len(told[OSError]) < 500


def test_other_settings_stop_the_grid_only_where_figures_would_be_mixed(tmp_path):
    run_grid(CELLS[:1], tmp_path, GridOptions(), run=Fake())

    def changed(cell, folder, options, *, on_step=None):
        raise RunError("made with other settings")

    with pytest.raises(RunError, match="other settings"):
        run_grid(CELLS[:1], tmp_path, GridOptions(), run=changed)
    assert run_grid(CELLS[1:2], tmp_path, GridOptions(), run=changed).failed == {
        CELLS[1].name: "RunError: made with other settings"
    }


def test_a_person_who_stops_it_stops_it(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_grid(CELLS, tmp_path, GridOptions(), run=Fake([CELLS[1].name], KeyboardInterrupt()))
    assert len(read_results(tmp_path / "results.csv")) == 1


def test_results_are_those_of_all_cells_in_the_folder(tmp_path):
    run_grid(CELLS[:2], tmp_path, GridOptions(), run=Fake())
    run_grid(CELLS[2:], tmp_path, GridOptions(), run=Fake())
    assert len(collect_results(tmp_path)) == 4
    (cell_folder(tmp_path, CELLS[0]) / "metrics.json").write_text("{")
    with pytest.raises(RunError, match="no JSON"):
        collect_results(tmp_path)
    (cell_folder(tmp_path, CELLS[0]) / "metrics.json").write_text("{}")
    with pytest.raises(RunError, match="not written by"):
        collect_results(tmp_path)


def hold(folder, ready):
    with locked(folder):
        ready.set()
        time.sleep(60)


def test_two_processes_do_not_work_on_one_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready))
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(RunError, match="another process works on"):
            run_grid(CELLS, tmp_path, GridOptions(), run=Fake())
    finally:
        process.kill()
        process.join()
    # However it died, it holds nothing any more.
    assert len(run_grid(CELLS, tmp_path, GridOptions(), run=Fake()).rows) == 4
