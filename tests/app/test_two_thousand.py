"""Two thousand uploads through the real server: what it keeps on the disk and in memory stays bounded."""

import io
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from app_server import Server, multipart
from PIL import Image

pytest.importorskip("gradio", reason="gradio is not installed: the page cannot be served")

UPLOADS, FIRST = 2000, 200
SPACE = 1_000_000  # Bytes: one unit of --max-space.
MORE = 48 * 2**20  # Bytes of memory that the server may need more after all uploads than after the first.
KINDS = {"good": 55, "no picture": 15, "broken off": 15, "never asked for": 10, "too much": 5}


def memory(process: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Disk(threading.Thread):
    """Looks all the time at how many bytes of uploads lie on the disk."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.server, self.most, self.ended = server, 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.02):
            self.most = max(self.most, self.now())

    def now(self) -> int:
        total = 0
        for path in self.server.stored():
            try:
                total += path.stat().st_size
            except FileNotFoundError:  # It was answered meanwhile.
                continue
        return total


def picture(random_: random.Random) -> bytes:
    file = io.BytesIO()
    side = random_.randrange(20, 60)
    Image.frombytes("RGB", (side, side), random_.randbytes(3 * side * side)).save(file, "PNG")
    return file.getvalue()


def stored(server: Server, content: bytes) -> str:
    """Upload a file that fits, once what was broken off just before is gone."""
    end = time.monotonic() + 60
    while (answer := server.upload("x.png", content))[0] == 507:
        assert time.monotonic() < end, answer
        time.sleep(0.05)
    assert answer[0] == 200, answer
    return answer[1]


def one_upload(server: Server, random_: random.Random) -> str:
    """Make one upload of a kind that is drawn, check what comes of it, and give the kind."""
    (kind,) = random_.choices(list(KINDS), list(KINDS.values()))
    if kind == "broken off":
        body = multipart(("x.png", random_.randbytes(random_.randrange(1000, 500_000))))
        server.break_off(body, random_.randrange(60, len(body)))
    elif kind == "too much":
        status, said = server.upload("x.png", random_.randbytes(SPACE + random_.randrange(1, 900_000)))
        assert status == 507 and "no room" in said
    elif kind == "no picture":
        text = stored(server, random_.randbytes(random_.randrange(3000)))
        assert "cannot be used" in server.answer_to(text)
    else:
        text = stored(server, picture(random_))
        assert kind == "never asked for" or "bm-label" in server.answer_to(text)
    return kind


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of a process is read from /proc")
def test_two_thousand_uploads_leave_disk_and_memory_bounded(trained, tmp_path, capsys):
    server, random_ = Server(trained, tmp_path, "--max-upload", "20", "--max-space", "1"), random.Random(0)
    disk, done, first = Disk(server), Counter(), 0
    disk.start()
    began = time.monotonic()
    try:
        for number in range(UPLOADS):
            done[one_upload(server, random_)] += 1
            if number + 1 == FIRST:
                first = memory(server.process.pid)
        last, left, taken = memory(server.process.pid), disk.now(), time.monotonic() - began
    finally:
        disk.ended.set()
        disk.join()
        said = server.stop()
    with capsys.disabled():
        print(
            f"\n{UPLOADS} uploads in {taken:.0f} s: {dict(done)}; disk at most {disk.most:,} bytes, {left:,} at the end"
        )
        print(f"memory {first / 2**20:.0f} MiB after {FIRST} uploads, {last / 2**20:.0f} MiB at the end")
    assert disk.most <= SPACE and done["too much"] > 0
    assert last - first <= MORE
    assert "Traceback" not in said and list(server.parent.iterdir()) == []
