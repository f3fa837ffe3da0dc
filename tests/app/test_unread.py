"""Answers that nobody fetches do not stay in the memory."""

import asyncio
import json

import pytest

from backmix.app import unread as module
from backmix.app.unread import DATA, JOIN, MOST, MOST_OF_ONE, Unread


class Library:
    """Keeps answers as the library behind the page does: until they are fetched."""

    def __init__(self):
        self.kept, self.status = {}, 200

    async def __call__(self, scope, receive, send):
        if scope["path"] == JOIN:
            session = json.loads((await receive())["body"])["session_hash"]
            if self.status == 200:
                self.kept.setdefault(session, []).append("answer")
            await module.answer(send, self.status, "{}")
        elif scope["path"] == DATA:
            assert scope["method"] == "GET"
            session = scope["query_string"].decode().partition("=")[2]
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in self.kept.pop(session):
                await send(
                    {"type": "http.response.body", "body": b'data: {"msg":"process_completed"}', "more_body": True}
                )
            await send({"type": "http.response.body", "body": b""})
        else:
            await module.answer(send, 200, "elsewhere")


@pytest.fixture
def unread():
    return Unread(Library())


async def ask(unread, path, query="", body=b""):
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event):
        sent.append(event)

    method = "POST" if body else "GET"
    scope = {"type": "http", "path": path, "method": method, "query_string": query.encode(), "headers": []}
    await unread(scope, receive, send)
    return sent[0]["status"]


def join(unread, session):
    return ask(unread, JOIN, body=json.dumps({"session_hash": session, "data": []}).encode())


def test_who_fetches_may_ask_without_end(unread):
    async def page():
        for number in range(3 * MOST):
            assert await join(unread, f"s{number % 5}") == 200
            assert await ask(unread, DATA, f"session_hash=s{number % 5}") == 200
        assert await ask(unread, "/config") == 200

    asyncio.run(page())
    assert unread._pages == {} and unread.application.kept == {}


def test_who_does_not_fetch_is_refused_and_others_are_served(unread):
    async def pages():
        found = [await join(unread, "one") for _ in range(MOST_OF_ONE + 3)]
        assert found == [200] * MOST_OF_ONE + [503] * 3
        assert await join(unread, "two") == 200
        assert await ask(unread, DATA, "session_hash=one") == await join(unread, "one") == 200

    asyncio.run(pages())


def test_all_pages_together_are_bounded(unread):
    async def pages():
        return [await join(unread, f"s{number}") for number in range(MOST + 5)]

    assert asyncio.run(pages()) == [200] * MOST + [503] * 5 and len(unread.application.kept) == MOST


def test_what_nobody_came_for_is_thrown_away(unread, monkeypatch):
    async def pages():
        assert await join(unread, "gone") == 200
        monkeypatch.setattr(module, "PATIENCE", 0.0)
        await asyncio.sleep(0.01)
        assert await join(unread, "other") == 200
        monkeypatch.setattr(module, "PATIENCE", 60.0)
        await asyncio.sleep(0.05)

    asyncio.run(pages())
    assert set(unread.application.kept) == set(unread._pages) == {"other"}


def test_a_question_that_is_refused_is_not_counted(unread):
    unread.application.status = 503

    async def pages():
        return {await join(unread, "one") for _ in range(2 * MOST_OF_ONE)}

    assert asyncio.run(pages()) == {503} and unread._pages == {}


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"{}", b'{"session_hash": 1}', b'{"session_hash": ""}', b'{"session_hash": "a b"}', b"[" * 9000],
)
def test_a_page_has_a_short_name(unread, body):
    assert asyncio.run(ask(unread, JOIN, body=body)) == 400
    assert asyncio.run(join(unread, "a" * 65)) == 400 and asyncio.run(join(unread, "a" * 64)) == 200


@pytest.mark.filterwarnings("ignore::Warning:gradio")
def test_the_real_library_forgets_what_is_thrown_away(monkeypatch):
    gradio = pytest.importorskip("gradio")
    from gradio.routes import App
    from starlette.middleware import Middleware
    from starlette.testclient import TestClient

    with gradio.Blocks(analytics_enabled=False) as page:
        box, out = gradio.Textbox(), gradio.Textbox()
        box.change(lambda text: text * 1000, box, out)
    page.queue()
    application = App.create_app(page, app_kwargs={"middleware": [Middleware(Unread)]})
    body = {"data": ["x"], "fn_index": 0, "session_hash": "gone"}
    with TestClient(application) as client:
        client.get("/gradio_api/startup-events")
        assert client.post(JOIN, json=body).status_code == 200
        waiting = page._queue.pending_messages_per_session["gone"]
        until(lambda: waiting.qsize() >= 3)
        monkeypatch.setattr(module, "PATIENCE", 0.0)
        assert client.post(JOIN, json={**body, "session_hash": "other"}).status_code == 200
        monkeypatch.setattr(module, "PATIENCE", 60.0)
        until(lambda: waiting.qsize() == 0 and not page._queue.pending_event_ids_session["gone"])
        assert "process_completed" in client.get(DATA, params={"session_hash": "other"}).text


def until(condition):
    import time

    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
