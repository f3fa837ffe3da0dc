"""Keep the answers that nobody fetches from filling the memory.

The library behind the page keeps each answer until the page that asked has fetched it, however many there are. A page
fetches at once; a program that only asks, or a browser that was closed too early, does not. So the questions whose
answers are still to be fetched are counted, and the answers that nobody came for are thrown away.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qs

from backmix.app.guard import Application, Message, Receive, Scope, Send, answer

JOIN, DATA = "/gradio_api/queue/join", "/gradio_api/queue/data"
MOST_OF_ONE = 16  # Questions of one page whose answers are still to be fetched.
MOST = 128  # The same of all pages together.
PATIENCE = 60.0  # The seconds after which the answers to a page that does not fetch them are thrown away.
LAST = 60.0  # The seconds that its open questions then have to be answered, before they are dropped.

_SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)
_DONE = re.compile(rb'"msg": ?"process_completed"')


@dataclass
class Page:
    """A page that waits for answers.

    Attributes:
        open: The number of its questions whose answers have not been fetched.
        since: When it last asked or fetched.
        readers: The number of its requests that fetch answers just now.
    """

    open: int = 0
    since: float = 0.0
    readers: int = 0


class Unread:
    """An application that bounds the answers that wait to be fetched. It passes on what it does not refuse.

    Args:
        application: The application that answers the requests.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self._pages: dict[str, Page] = {}
        self._cleaners: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path == JOIN:
            await self._ask(scope, receive, send)
        elif path == DATA:
            session = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_hash", [""])[0]
            await self._fetch(session, scope, receive, send)
        else:
            await self.application(scope, receive, send)

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        event = await receive()  # The guard gives the whole body at once.
        session = _session(event.get("body", b""))
        if session is None:
            await answer(send, 400, "which page asks must be said")
            return
        self._clean(scope)
        page = self._pages.get(session, Page())
        if page.open >= MOST_OF_ONE or sum(each.open for each in self._pages.values()) >= MOST:
            await answer(send, 503, "Too many questions wait for their answers at the moment. Try again in a minute.")
            return
        self._pages[session] = page
        page.open += 1
        page.since = time.monotonic()
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return event

        async def heard(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] != 200:
                self._fetched(session, 1)  # It was refused, so there will be no answer.
            await send(message)

        await self.application(scope, again, heard)

    async def _fetch(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        page = self._pages.get(session)

        async def heard(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and (number := len(_DONE.findall(message.get("body", b"")))):
                self._fetched(session, number)

        if page is not None:
            page.readers += 1
        try:
            await self.application(scope, receive, heard)
        finally:
            if page is not None:
                page.readers -= 1
                page.since = time.monotonic()

    def _fetched(self, session: str, number: int) -> None:
        page = self._pages.get(session)
        if page is None:
            return
        page.open -= number
        page.since = time.monotonic()
        if page.open <= 0:
            del self._pages[session]

    def _clean(self, scope: Scope) -> None:
        """Begin to throw away the answers to pages that do not fetch them."""
        now = time.monotonic()
        for session, page in list(self._pages.items()):
            if not page.readers and now - page.since > PATIENCE:
                page.readers += 1  # So that it is begun once.
                task = asyncio.create_task(self._throw_away(session, page, _request_of(session, scope)))
                self._cleaners.add(task)
                task.add_done_callback(self._cleaners.discard)

    async def _throw_away(self, session: str, page: Page, request: Scope) -> None:
        """Fetch the answers in the place of the page, so that the library forgets them."""
        begun = False

        async def receive() -> Message:
            nonlocal begun
            if begun:
                await asyncio.sleep(LAST)
                return {"type": "http.disconnect"}
            begun = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def forget(message: Message) -> None:
            del message

        try:
            # The library raises an error where it has forgotten the page already.
            with suppress(Exception):
                await self.application(request, receive, forget)
        finally:
            if self._pages.get(session) is page:
                del self._pages[session]


def _request_of(session: str, scope: Scope) -> Scope:
    """Return a request to fetch the answers to a page, on the same server as another request."""
    query = f"session_hash={session}".encode()
    headers = [(key, value) for key, value in scope["headers"] if key.lower() == b"host"]
    changed = {"method": "GET", "path": DATA, "raw_path": DATA.encode(), "query_string": query, "headers": headers}
    return {**scope, **changed, "state": dict(scope.get("state", {}))}


def _session(body: bytes) -> str | None:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return None
    session = given.get("session_hash") if isinstance(given, dict) else None
    return session if isinstance(session, str) and _SESSION.fullmatch(session) else None
