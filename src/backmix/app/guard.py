"""Guard the server: it answers only requests of this page, made from this page, that do not make it fetch anything.

The library behind the page has many routes that the page does not use: descriptions of its interface, a proxy, files by
path or address, records of runs, tools for developers. The guard stands in front of the library and closes them.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

READ = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json)?|/(assets|static)/.*"
    r"|/gradio_api/(queue/data|upload_progress|startup-events|heartbeat/[\w-]+)"
)
WRITE = frozenset({"/gradio_api/upload", "/gradio_api/queue/join"})
MOST_JSON = 1_000_000  # Bytes of a request that is no upload; a request on 200 files takes about a tenth.

HEADERS = (
    # The page loads nothing from other servers, sends nothing to them, and is not shown in a frame of another page.
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
        b"form-action 'self'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Guard:
    """A guard in front of an application, which lets through only the requests that the page needs.

    Args:
        application: The application that answers the requests that pass the guard.
        local_only: Whether the server is only for this machine. If so, it answers only under the names of this machine,
            so that a page from elsewhere cannot reach it under another name (DNS rebinding).
    """

    def __init__(self, application: Application, *, local_only: bool) -> None:
        self.application = application
        self.local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.application(scope, receive, send)
            return
        refused = self._refusal(scope)
        if refused is None and scope["path"] == "/gradio_api/queue/join":
            body = await _read(receive, MOST_JSON)
            if body is None:
                refused = 413, "too much"
            elif names_an_address(body):
                refused = 403, "nothing is fetched from an address"
            else:
                receive = _again(body, receive)

        async def send_safely(event: Message) -> None:
            if event["type"] == "http.response.start":
                event["headers"] = [*event.get("headers", ()), *HEADERS]
            await send(event)

        if refused is None:
            await self.application(scope, receive, send_safely)
        else:
            await answer(send_safely, *refused)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        if scope["type"] != "http":
            return 404, "not found"
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if self.local_only and not is_loopback(_host_name(host)):
            return 403, "this page is for the machine it runs on"
        path, method = scope["path"], scope["method"]
        if method in ("GET", "HEAD"):
            return None if READ.fullmatch(path) else (404, "not found")
        if method != "POST" or path not in WRITE:
            return 404, "not found"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "a page from elsewhere may not ask this"
        if path == "/gradio_api/upload":
            length = headers.get("content-length", "")
            if not length.isdecimal() or len(length) > 18:
                return 411, "how long it is must be said"
        return None


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is a loopback address, which only this machine can reach."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_an_address(body: bytes) -> bool:
    """Return whether a JSON request names a file by an address to fetch it from; True for invalid JSON."""
    try:
        waiting = [json.loads(body)]
    except (ValueError, RecursionError):
        return True
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and _has_scheme(path):
                return True
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return False


def _has_scheme(path: str) -> bool:
    try:
        return len(urlsplit(path).scheme) > 1  # One letter is a drive of Windows.
    except ValueError:
        return True


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _read(receive: Receive, most: int) -> bytes | None:
    """Return the whole body of a request, or None if it is longer than `most` bytes."""
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return bytes(body)
        body += event.get("body", b"")
        if len(body) > most:
            return None
        if not event.get("more_body"):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first gives a body that was already read, and then continues as before."""
    given = False

    async def read() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read


async def answer(send: Send, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
    """Answer a request with a text, of a media type."""
    content = text.encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
