"""Receive the files that are dropped on the page, in the place of the library that builds the page.

The library stores an upload without a bound on all uploads together, and keeps what was broken off. Here nothing of an
upload stays that was not stored whole, and whoever is refused reads why. The rest of the page is served meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from backmix.app.guard import Application, Receive, Scope, Send, answer
from backmix.app.multipart import BrokenUpload, Part, Parts
from backmix.app.store import Arriving, Refused, Store

UPLOAD, PROGRESS = "/gradio_api/upload", "/gradio_api/upload_progress"
STALL = 60.0  # The seconds without a byte after which an upload counts as broken off.
LONGEST = 3600.0  # The seconds that one upload may take.
WAIT = 3.0  # The seconds for which one that asks how far an upload is waits for its beginning.
STEP = 0.05  # The seconds between two looks at how far an upload is.

_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


class Gone(Exception):
    """The sender has broken the upload off."""


@dataclass
class Progress:
    """How far an upload is.

    Attributes:
        news: The bytes of each file that have come since this was read last, by the name of the file.
        done: Whether the upload has ended.
    """

    news: dict[str, int] = field(default_factory=dict)
    done: bool = False

    def add(self, part: Part) -> None:
        """Count the new bytes of a file."""
        self.news[part.name] = self.news.get(part.name, 0) + sum(map(len, part.pieces))

    def take(self) -> list[tuple[str, int]]:
        """Return the news, and forget them."""
        found, self.news = list(self.news.items()), {}
        return found


class Uploads:
    """An application that receives uploads and tells how far they are. It passes on every other request.

    Args:
        application: The application that answers the other requests.
        store: The store for the files.
        largest: The largest number of bytes of one file.
        most: The largest number of bytes of one upload, of all its files together.
    """

    def __init__(self, application: Application, *, store: Store, largest: int, most: int) -> None:
        self.application = application
        self.store = store
        self.most = most
        self.largest = largest
        self._progress: dict[str, Progress] = {}  # Of the uploads that arrive just now.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path == UPLOAD:
            await self._upload(scope, receive, send)
        elif path == PROGRESS:
            await self._tell(scope, receive, send)
        else:
            await self.application(scope, receive, send)

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        name, progress = _upload_id(scope), Progress()
        if name is not None:
            self._progress[name] = progress
        body = _Body(receive)
        try:
            paths = await self._receive(scope, body, progress)
            await answer(send, 200, json.dumps(paths), "application/json")
        except Gone:
            return
        except (Refused, BrokenUpload, TimeoutError) as error:
            # A browser shows the answer only after it has sent everything.
            if not isinstance(error, TimeoutError) and not await body.skip():
                return
            await answer(send, *_told(error))
        finally:
            progress.done = True
            if name is not None and self._progress.get(name) is progress:
                del self._progress[name]

    async def _receive(self, scope: Scope, body: _Body, progress: Progress) -> list[str]:
        """Store the files of an upload and return their paths; store none of them if there is an error."""
        from starlette.concurrency import run_in_threadpool

        files: list[Arriving] = []
        try:
            if int(_header(scope, b"content-length")) > self.most:
                raise Refused(413, f"More than {self.most / 1e6:,.0f} MB at once are too many. Drop fewer pictures.")
            parts = Parts(_header(scope, b"content-type"))
            begun: dict[int, Arriving] = {}  # By the identity of the part, which `parts` holds until it has ended.
            async for data in body:
                for part in parts.feed(data):
                    await run_in_threadpool(self._write, part, begun, files)
                    progress.add(part)
            if not parts.whole:
                raise BrokenUpload("it ends too early")
        except BaseException:
            for file in files:
                file.drop()
            raise
        return [file.keep() for file in files]

    def _write(self, part: Part, begun: dict[int, Arriving], files: list[Arriving]) -> None:
        file = begun.get(id(part))
        if file is None:
            file = begun[id(part)] = self.store.begin()
            files.append(file)
        for piece in part.pieces:
            if file.size + len(piece) > self.largest:
                raise Refused(
                    413, f"A file is larger than {self.largest / 1e6:,.0f} MB (--max-upload of backmix app sets it)."
                )
            file.write(piece)
        if part.whole:
            file.finish()
            del begun[id(part)]

    async def _tell(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import StreamingResponse

        progress = await self._find(_upload_id(scope))
        await StreamingResponse(_events(progress), media_type="text/event-stream")(scope, receive, send)

    async def _find(self, name: str | None) -> Progress:
        """Return the progress of an upload; one that is not there has ended.

        The page may ask for it a little before it sends the upload, so this waits for some seconds.
        """
        for _ in range(round(WAIT / STEP)):
            if name in self._progress:
                return self._progress[name]
            await asyncio.sleep(STEP)
        return Progress(done=True)


class _Body:
    """The body of a request, piece by piece. Only the wait for a piece is cut short, never what is done with it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True
        self._end = time.monotonic() + LONGEST

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._more:
            async with asyncio.timeout(min(STALL, self._end - time.monotonic())):
                event = await self._receive()
            if event["type"] != "http.request":
                raise Gone
            self._more = bool(event.get("more_body"))
            yield event.get("body", b"")

    async def skip(self) -> bool:
        """Read what is left and forget it; return whether the sender is still there."""
        try:
            async for _ in self:
                pass
        except (Gone, TimeoutError):
            return False
        return True


async def _events(progress: Progress) -> AsyncIterator[str]:
    """Yield how far an upload is, in the words that the page expects, until the upload ends."""
    while True:
        done = progress.done  # Read first: what comes before the end is told as well.
        for name, size in progress.take():
            yield _event({"msg": "update", "orig_name": name, "chunk_size": size})
        if done:
            yield _event({"msg": "done"})
            return
        await asyncio.sleep(STEP)


def _event(content: dict[str, object]) -> str:
    return f"data: {json.dumps(content)}\n\n"


def _told(error: Exception) -> tuple[int, str]:
    if isinstance(error, Refused):
        return error.status, str(error)
    if isinstance(error, TimeoutError):
        return 408, "The upload stopped before its end. Drop the pictures again."
    return 400, "The upload did not arrive whole. Drop the pictures again."


def _upload_id(scope: Scope) -> str | None:
    given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("upload_id", [""])[0]
    return given if _ID.fullmatch(given) else None


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), "")
