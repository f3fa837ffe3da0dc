"""Only this page, from this page, is answered; nothing makes the server fetch an address."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmix.app.guard import MOST_JSON, Guard, is_loopback, names_an_address


def ask(path, method="GET", body=b"", local_only=True, pieces=1, kind="http", **headers):
    """Send one request to a guarded application that says back what it read; status, headers and body."""
    sent = []

    async def application(scope, receive, send):
        read = b""
        while True:
            event = await receive()
            read += event.get("body", b"")
            if not event.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-inner", b"1")]})
        await send({"type": "http.response.body", "body": b"read " + read})

    size = max(1, -(-len(body) // pieces))
    events = [
        {"type": "http.request", "body": body[at : at + size], "more_body": at + size < len(body)}
        for at in range(0, max(1, len(body)), size)
    ]

    async def receive():
        return events.pop(0)

    async def send(event):
        sent.append(event)

    given = {"host": "127.0.0.1:7860", **{key.replace("_", "-"): value for key, value in headers.items()}}
    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "headers": [(key.encode(), value.encode()) for key, value in given.items()],
    }
    asyncio.run(Guard(application, local_only=local_only)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def test_the_page_is_let_through_and_nothing_else():
    for path in ("/", "/config", "/theme.css", "/assets/index-1.js", "/static/img/logo.svg", "/gradio_api/queue/data"):
        assert ask(path)[0] == 200, path
    shut = [
        "/openapi.json",
        "/docs",
        "/gradio_api/info",
        "/gradio_api/runs",
        "/monitoring",
        "/gradio_api/file=/etc/passwd",
    ]
    shut += [
        "/gradio_api/file=http://example.org/x",
        "/gradio_api/proxy=http://example.org",
        "/login",
        "/gradio_api/token",
    ]
    shut += ["/gradio_api/upload", "/gradio_api/heartbeat/a/b", "/configuration", "//", ""]
    for path in shut:
        assert ask(path)[0] == 404, path
    assert ask("/", "POST")[0] == 404 and ask("/gradio_api/run/predict", "POST")[0] == 404
    assert ask("/gradio_api/upload", "PUT")[0] == 404 and ask("/", kind="websocket")[0] == 404


def test_every_answer_keeps_the_page_to_itself():
    for path in ("/", "/docs"):
        headers = ask(path)[1]
        assert b"default-src 'self'" in headers[b"content-security-policy"]
        assert headers[b"x-content-type-options"] == b"nosniff" and headers[b"referrer-policy"] == b"no-referrer"
    assert ask("/")[1][b"x-inner"] == b"1"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "192.168.0.7", "127.0.0.1.evil.example", "", "[::1"]
)
def test_this_machine_alone_means_its_own_names(host):
    assert ask("/", host=host)[0] == 403
    assert ask("/", host=host, local_only=False)[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860", "127.0.0.2"])
def test_names_of_this_machine(host):
    assert ask("/", host=host)[0] == 200


def test_a_page_from_elsewhere_may_not_post():
    body = b'{"data": []}'
    ok = {"method": "POST", "body": body}
    assert ask("/gradio_api/queue/join", **ok)[0] == 200
    assert ask("/gradio_api/queue/join", **ok, origin="http://127.0.0.1:7860")[0] == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://localhost:7860"):
        assert ask("/gradio_api/queue/join", **ok, origin=origin)[0] == 403


def test_uploads_say_their_length():
    assert ask("/gradio_api/upload", "POST", b"x" * 9, content_length="9")[2] == b"read " + b"x" * 9
    assert ask("/gradio_api/upload", "POST", b"x")[0] == 411
    assert ask("/gradio_api/upload", "POST", b"x", content_length="-5")[0] == 411
    assert ask("/gradio_api/upload", "POST", b"x", content_length="9" * 5000)[0] == 411


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_request_passes_whole_and_not_too_long(pieces):
    body = json.dumps({"data": [{"path": "/tmp/x.png", "url": "http://127.0.0.1/x"}, 0.95, "é"]}).encode()
    assert ask("/gradio_api/queue/join", "POST", body, pieces=pieces)[2] == b"read " + body
    assert ask("/gradio_api/queue/join", "POST", b" " * (MOST_JSON + 1), pieces=pieces)[0] == 413


@pytest.mark.parametrize(
    "path",
    [
        "http://example.org/x.png",
        "HTTPS://example.org",
        " http:example.org",
        "ht\ntp://example.org",
        "file:///etc/passwd",
        "http://[",
    ],
)
def test_an_address_in_place_of_a_file_is_refused(path):
    entry = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for data in ([entry], [[entry]], [{"deep": [1, {"x": entry}]}]):
        assert ask("/gradio_api/queue/join", "POST", json.dumps({"data": data}).encode())[0] == 403


def test_what_is_no_json_is_refused():
    for body in (b"", b"{", b"[" * 100_000, b"\xff"):
        assert ask("/gradio_api/queue/join", "POST", body)[0] == 403


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key != "path"), inner),
        max_leaves=20,
    )
)
def test_other_requests_name_no_address(value):
    assert not names_an_address(json.dumps(value).encode())
    assert names_an_address(json.dumps([value, {"path": "http://example.org"}]).encode())
    assert not names_an_address(json.dumps([value, {"path": "C:\\x.png"}, {"path": "/x.png"}]).encode())


def test_is_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost", "Localhost.")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.1", "example.org", "", "localhost.example.org")))
