"""The page as it is served: odd names, uploads that end early, many at once, and a server that is killed."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from app_server import MULTIPART, Server, multipart
from nasty_names import NASTY

pytest.importorskip("gradio", reason="gradio is not installed: the page cannot be served")

CLIENTS = 50
FORM = {"Content_Type": MULTIPART}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(trained, folder):
    server = Server(trained, folder, "--max-upload", "2", "--max-space", "3")
    yield server
    server.process.kill()
    server.process.communicate()


@pytest.fixture
def picture(pictures):
    return (pictures / "test" / "red" / "0.png").read_bytes()


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


ODD = [
    *NASTY,
    ".",
    "..",
    "...",
    "/",
    "../../x",
    "\ud800",
    "\udfff.png",
    "\x00",
    "\x7f",
    "CON",
    " ",
    "a/b\\c",
    "é" * 400,
]


@pytest.mark.parametrize("name", [*ODD, None], ids=lambda name: ascii(name)[:30])
def test_whatever_a_picture_is_called_it_is_answered(server, picture, name):
    status, uploaded = server.upload("x", picture)
    assert status == 200
    said = server.answer_to(uploaded, name)
    assert "bm-label" in said and '"success":true' in said, said
    status, uploaded = server.upload("x", b"no picture")
    said = server.answer_to(uploaded, name)
    assert "cannot be used" in said and '"success":true' in said, said
    assert server.stored() == []


def test_many_odd_names_in_one_table(server, picture):
    paths = json.loads(server.get("gradio_api/upload", multipart(*[("x", picture)] * len(ODD)), **FORM)[1])
    meta = {"_type": "gradio.FileData"}
    files = [{"path": path, "orig_name": name, "meta": meta} for path, name in zip(paths, ODD, strict=True)]
    said = server.join([files, 0.95, []], number=1)[1]
    assert f"{len(ODD)} pictures: " in said and "unreadable" not in said and '"success":true' in said, said[-500:]
    assert server.stored() == []


def test_what_is_broken_off_is_gone_and_what_is_too_much_is_said(server, picture):
    for sent in (0, 10, 100, 5000, 1_000_000):
        server.break_off(multipart(("x.png", b"x" * 1_900_000)), sent)
    until(lambda: server.stored() == [])
    status, said = server.get("gradio_api/upload", multipart(*[("x.png", b"x" * 1_600_000)] * 2), **FORM)
    assert status == 507 and "no room for more pictures" in said and server.stored() == []
    status, said = server.get("gradio_api/upload", multipart(*[("x.png", b"x" * 1_900_000)] * 9), **FORM)
    assert status == 413 and "Drop fewer" in said
    assert "bm-label" in server.answer_to(server.upload("x", picture)[1])


def test_who_asks_without_fetching_is_refused_and_others_are_served(server, picture):
    body = json.dumps({"data": [None, 0.95], "fn_index": 0, "session_hash": "greedy"}).encode()
    found = [server.get("gradio_api/queue/join", body, Content_Type="application/json")[0] for _ in range(20)]
    assert found == [200] * 16 + [503] * 4
    assert "bm-label" in server.answer_to(server.upload("x", picture)[1])


def test_fifty_at_once_are_all_answered(server, picture):
    def client(number):
        found = []
        for _ in range(2):
            status, uploaded = server.upload(f"{number}.png", picture)
            found.append(status == 200 and "bm-label" in server.answer_to(uploaded, f"{number}.png"))
        return all(found)

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert all(pool.map(client, range(CLIENTS)))
    assert server.stored() == []


def test_the_next_start_deletes_what_a_killed_server_left(server, trained, folder, picture):
    (path,) = json.loads(server.upload("x.png", picture)[1])
    server.process.kill()
    server.process.wait()
    assert Path(path).exists(), "SIGKILL leaves it"
    again = Server(trained, folder)
    try:
        assert not Path(path).exists() and again.stored() == [] and len(list(again.parent.iterdir())) == 2
    finally:
        again.stop()
    assert list(again.parent.iterdir()) == []
