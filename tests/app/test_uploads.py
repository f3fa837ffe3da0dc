"""An upload is stored whole or leaves nothing, and whoever is refused reads a sentence."""

import asyncio
import errno
import json
import os
from pathlib import Path

import pytest
from app_server import MULTIPART, multipart
from nasty_names import NASTY

pytest.importorskip("gradio", reason="gradio, which receives uploads elsewhere, is not installed")

from backmix.app import store as store_module
from backmix.app import uploads as module
from backmix.app.store import Store
from backmix.app.uploads import Uploads

BIG = 100_000


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "uploads", most_bytes=BIG, most_files=5)


async def elsewhere(scope, receive, send):
    await module.answer(send, 200, f"elsewhere: {scope['path']}")


def events(body, size=1000, broken_off=False):
    """What a server hears of a body that comes in pieces; broken off: the sender goes away before the last piece."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
    found = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if broken_off:
        return [*found[:-1], {"type": "http.disconnect"}]
    return [*found[:-1], {**found[-1], "more_body": False}]


async def ask(uploads, heard, path="/gradio_api/upload", query="", content_type=MULTIPART, method="POST"):
    """Status and text of a request; None if it is not answered. `heard` may hold numbers: seconds of silence."""
    sent, heard = [], list(heard)
    length = sum(len(event.get("body", b"")) for event in heard if isinstance(event, dict))

    async def receive():
        while heard and isinstance(heard[0], float):
            await asyncio.sleep(heard.pop(0))
        if not heard:
            await asyncio.sleep(3600)
        return heard.pop(0)

    async def send(event):
        sent.append(event)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"content-type", content_type.encode()), (b"content-length", str(length).encode())],
    }
    await uploads(scope, receive, send)
    if not sent:
        return None
    return sent[0]["status"], b"".join(event["body"] for event in sent[1:]).decode()


def upload(store, *files, size=1000, largest=BIG, **options):
    broken_off = options.pop("broken_off", False)
    heard = events(options.pop("body", None) or multipart(*files), size, broken_off)
    return asyncio.run(ask(Uploads(elsewhere, store=store, largest=largest, most=20 * BIG), heard, **options))


def on_disk(store):
    return sorted(store.folder.iterdir()) if store.folder.exists() else []


def test_files_are_stored_in_order_and_other_requests_passed_on(store):
    status, text = upload(store, ("a.png", b"a" * 3000), ("b.png", b""), ("a.png", b"c"), size=7)
    paths = [Path(path) for path in json.loads(text)]
    assert status == 200 and [path.read_bytes() for path in paths] == [b"a" * 3000, b"", b"c"]
    assert sorted(paths) == on_disk(store) and store.used == (3001, 3)
    assert upload(store, path="/config") == (200, "elsewhere: /config")
    assert upload(store) == (200, "[]")


@pytest.mark.parametrize(
    "name",
    [
        *[name.replace("\r", "%0D").replace("\n", "%0A") for name in NASTY],
        ".",
        "..",
        "...",
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\x",
        "C:\\x",
        "a/b",
        "~",
        "CON",
        "a" * 3000,
        "\x00",
        "\x7f\t",
        "x\x00.png",
        " ",
        "-rf",
        "é" * 200,
    ],
)
def test_the_name_of_an_upload_never_reaches_the_disk(store, name):
    status, text = upload(store, (name, b"picture"))
    (path,) = json.loads(text)
    assert status == 200 and Path(path).read_bytes() == b"picture" and on_disk(store) == [Path(path)]
    assert len(Path(path).name) == 32 and set(Path(path).name) <= set("0123456789abcdef")


def test_a_name_of_no_encoding_is_taken(store):
    body = multipart(("NAME", b"x")).replace(b"NAME", b"\xff\xfe\x80")
    assert upload(store, body=body)[0] == 200 and len(on_disk(store)) == 1


@pytest.mark.parametrize("size", [50, 1000, 100_000])
def test_what_is_broken_off_leaves_nothing_and_the_next_is_served(store, size):
    assert upload(store, ("a", b"a" * 500), ("b", b"b" * 5000), size=size, broken_off=True) is None
    assert on_disk(store) == [] and store.used == (0, 0)
    assert upload(store, ("b", b"b" * 5000))[0] == 200


def test_an_upload_that_says_nothing_more_is_broken_off(store, monkeypatch):
    monkeypatch.setattr(module, "STALL", 0.05)
    uploads = Uploads(elsewhere, store=store, largest=BIG, most=20 * BIG)
    heard = [*events(multipart(("a", b"a" * 5000)))[:-1], 30.0]
    status, text = asyncio.run(ask(uploads, heard))
    assert status == 408 and "stopped before its end" in text and on_disk(store) == []


def test_an_upload_that_takes_too_long_is_ended(store, monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 0.2)
    uploads = Uploads(elsewhere, store=store, largest=BIG, most=20 * BIG)
    drops = [each for event in events(multipart(("a", b"a" * 100)), size=1) for each in (0.01, event)]
    assert asyncio.run(ask(uploads, drops))[0] == 408 and on_disk(store) == []


def test_one_file_that_is_too_large_is_refused_with_all_of_its_upload(store):
    status, text = upload(store, ("a", b"a" * 2 * BIG), largest=5 * BIG, size=60_000)
    assert (status, on_disk(store)) == (507, []), "the store is smaller"
    status, text = upload(store, ("a", b"a" * 10), ("b", b"b" * 20 * BIG), largest=30 * BIG, size=60_000)
    assert (status, on_disk(store)) == (413, []) and text == "More than 2 MB at once are too many. Drop fewer pictures."
    status, text = upload(store, ("a", b"a" * 10), ("b", b"b" * 1001), largest=1000)
    assert (status, on_disk(store)) == (413, []) and "larger than" in text and "--max-upload" in text


def test_without_room_it_is_said_and_others_are_served(store):
    assert upload(store, ("a", b"a" * 90_000))[0] == 200
    status, text = upload(store, ("b", b"b" * 5000), ("c", b"c" * 6000))
    assert status == 507 and text.startswith("There is no room for more pictures at the moment.")
    assert store.used == (90_000, 1) and len(on_disk(store)) == 1
    assert upload(store, ("b", b"b" * 5000))[0] == 200
    assert upload(store, *[("c", b"")] * 4)[0] == 507 and store.used == (95_000, 2)


def test_who_is_refused_is_answered_after_all_was_sent(store):
    """A browser that is answered earlier shows a broken connection in the place of the sentence."""
    heard = events(multipart(("a", b"a" * 1001), ("b", b"b" * 50_000)))
    uploads, left = Uploads(elsewhere, store=store, largest=1000, most=20 * BIG), []

    async def counted():
        sent = []

        async def receive():
            return heard.pop(0)

        async def send(event):
            left.append(len(heard))
            sent.append(event)

        headers = [(b"content-type", MULTIPART.encode()), (b"content-length", b"51200")]
        scope = {"type": "http", "path": "/gradio_api/upload", "headers": headers}
        await uploads(scope, receive, send)
        return sent[0]["status"]

    assert asyncio.run(counted()) == 413 and left == [0, 0]


def test_a_full_disk_is_a_sentence_for_the_one_and_others_are_served(store, monkeypatch):
    real = os.write

    def full(descriptor, data):
        if b"n" in bytes(data):
            raise OSError(errno.ENOSPC, "no space")
        return real(descriptor, data)

    monkeypatch.setattr(store_module.os, "write", full)
    uploads = Uploads(elsewhere, store=store, largest=BIG, most=20 * BIG)

    async def several():
        bodies = [multipart(("x", letter * 3000)) for letter in (b"y", b"n", b"y", b"n")]
        return await asyncio.gather(*(ask(uploads, events(body)) for body in bodies))

    found = asyncio.run(several())
    assert [status for status, _ in found] == [200, 507, 200, 507] and "disk" in found[1][1]
    assert len(on_disk(store)) == 2 and store.used == (6000, 2)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"hello", MULTIPART),
        (multipart(("a", b"a" * 100))[:-5], MULTIPART),
        (b"--xx\r\n\r\n", MULTIPART),
        (multipart(("a" * 9000, b"a")), MULTIPART),
        (multipart(("a", b"a")), "text/plain"),
        (multipart(("a", b"a")), ""),
        (multipart(("a", b"a")), "multipart/form-data"),
        (multipart(("a", b"a")), "multipart/form-data; boundary=yy"),
    ],
)
def test_what_is_no_upload_is_refused_with_a_sentence(store, body, content_type):
    status, text = upload(store, body=body, content_type=content_type)
    assert status == 400 and "did not arrive whole" in text and on_disk(store) == [] and store.used == (0, 0)


def test_fields_that_are_no_files_are_not_held(store):
    field = b'--xx\r\nContent-Disposition: form-data; name="files"\r\n\r\n' + b"x" * 10 * BIG + b"\r\n"
    status, text = upload(store, body=field + multipart(("a", b"a")), size=60_000)
    assert status == 200 and len(json.loads(text)) == 1 and store.used == (1, 1)


def test_how_far_an_upload_is(store):
    uploads = Uploads(elsewhere, store=store, largest=BIG, most=20 * BIG)
    body = multipart(("a b.png", b"a" * 4000))
    slowly = [each for event in events(body, size=500) for each in (0.03, event)]

    async def both():
        told = asyncio.create_task(
            ask(uploads, [], path="/gradio_api/upload_progress", query="upload_id=abc", method="GET")
        )
        await asyncio.sleep(0.05)  # The page asks before it sends.
        found = await ask(uploads, slowly, query="upload_id=abc")
        return found, await told

    (status, _), (told_status, told) = asyncio.run(both())
    messages = [json.loads(line.removeprefix("data: ")) for line in told.split("\n\n") if line]
    assert status == told_status == 200 and messages[-1] == {"msg": "done"} and len(messages) > 2
    assert sum(message.get("chunk_size", 0) for message in messages) == 4000
    assert {message["orig_name"] for message in messages[:-1]} == {"a b.png"}
    assert uploads._progress == {}


@pytest.mark.parametrize("query", ["", "upload_id=", "upload_id=none", "upload_id=" + "a" * 65, "upload_id=%2E%2E"])
def test_nothing_is_remembered_of_an_upload_that_is_not_there(store, monkeypatch, query):
    monkeypatch.setattr(module, "WAIT", 0.2)
    uploads = Uploads(elsewhere, store=store, largest=BIG, most=20 * BIG)
    asked = ask(uploads, [], path="/gradio_api/upload_progress", query=query, method="GET")
    assert asyncio.run(asked) == (200, 'data: {"msg": "done"}\n\n') and uploads._progress == {}
    assert asyncio.run(ask(uploads, events(b"hello"), query=query))[0] == 400 and uploads._progress == {}
