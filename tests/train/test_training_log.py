"""The log for TensorBoard: written where it can be, and given up with one sentence where it cannot."""

import errno
import sys
import threading

import pytest
from full_disk import full_disk

from backmix.errors import TrainingError
from backmix.train.loop import make_accelerator
from backmix.train.training_log import begin_log, end_log, log_values, quiet_writer


@pytest.fixture
def accelerator(tmp_path):
    accelerator = make_accelerator(log_dir=tmp_path / "logs")
    accelerator.init_trackers("")
    yield accelerator
    accelerator.trackers.clear()


def test_what_is_logged_is_read_again(accelerator, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step in (1, 2, 3):
        log_values(accelerator, {"loss": 1 / step}, step)
    end_log(accelerator)
    (folder,) = {path.parent for path in tmp_path.rglob("events.*")}
    found = EventAccumulator(str(folder)).Reload().Scalars("loss")
    assert [each.step for each in found] == [1, 2, 3]
    assert [each.value for each in found] == pytest.approx([1, 1 / 2, 1 / 3])


@pytest.mark.skipif(sys.platform != "linux", reason="fills the disk by /proc")
def test_a_log_that_cannot_be_written_is_told_once_and_shows_no_traceback(accelerator, tmp_path, monkeypatch):
    told, shown = [], []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    with full_disk(tmp_path, 1), quiet_writer():
        for step in range(1, 60):
            log_values(accelerator, {"loss": 1.0}, step, told.append)
            for tracker in accelerator.trackers:
                try:
                    tracker.writer.flush()  # Else the thread writes when it likes.
                except OSError:
                    break
        end_log(accelerator)
    (sentence,) = told
    assert sentence == (
        f"the log for TensorBoard in {tmp_path / 'logs'} cannot be written (No space left on device); the training "
        "goes on without it"
    )
    assert not shown


@pytest.mark.skipif(sys.platform != "linux", reason="fills the disk by /proc")
def test_a_log_that_cannot_be_begun_is_an_error_of_ours(tmp_path):
    accelerator = make_accelerator(log_dir=tmp_path / "logs")
    with full_disk(tmp_path, 1), pytest.raises(TrainingError, match=f"could not write {tmp_path / 'logs'}: No space"):
        begin_log(accelerator)
    accelerator.trackers.clear()


def test_errors_of_other_threads_are_shown(monkeypatch):
    def fail():
        raise OSError(errno.ENOSPC, "mine")

    shown = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    before = threading.excepthook
    with quiet_writer():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert [each.exc_value.strerror for each in shown] == ["mine"] and threading.excepthook is before
