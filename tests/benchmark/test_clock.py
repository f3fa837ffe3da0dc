"""A clock goes on where the last process stored it."""

import json

from backmix.benchmark import clock


def test_seconds_add_up_over_processes(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    first = clock.Clock(tmp_path / "seconds.json")
    now[0] += 2.5
    assert first.store() == 2.5
    now[0] += 4  # Never stored: as if the process had been killed here.
    second = clock.Clock(tmp_path / "seconds.json")
    now[0] += 1
    assert second.store() == 3.5 and second.store() == 3.5
    assert json.loads((tmp_path / "seconds.json").read_text()) == {"seconds": 3.5}
