"""The page in a real browser: from a dropped picture to a downloaded table, with nothing fetched from elsewhere."""

import csv
import json
import os
import re
import time
from pathlib import Path

import pytest
from app.test_pictures import bomb
from app_server import Server
from browser_pipe import Browser, find_browser

pytest.importorskip("gradio", reason="gradio is not installed: the page cannot be served")

ONE, MANY = "#bm-file", "#bm-files"


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory):
    server = Server(trained, tmp_path_factory.mktemp("server"), "--max-upload", "2", "--max-files", "6")
    yield server
    stored = server.stored()
    said = server.stop()
    assert stored == [], "what was dropped is deleted as soon as it is answered"
    assert server.process.returncode == 0 and "stopped" in said
    assert [path.name for path in server.temporary.rglob("*")] == [server.parent.name], "it leaves nothing behind"


@pytest.fixture(scope="module")
def browser():
    if find_browser() is None:
        pytest.skip("there is no Chromium or Chrome: the page cannot be tried in a browser")
    with Browser() as browser:
        browser.call("Network.enable")
        yield browser


def until(browser: Browser, expression: str, seconds: float = 30) -> object:
    """What an expression gives, once it is true."""
    end = time.monotonic() + seconds
    while not (value := browser.ask(expression)):
        assert time.monotonic() < end, f"{expression}\n{browser.ask('document.body.innerText')}\n{browser.said}"
        time.sleep(0.03)
    return value


def opened(browser: Browser, server: Server) -> None:
    browser.said.clear()
    browser.open(server.address)
    until(browser, f"document.querySelector('{ONE} input[type=file]')?.id !== undefined")


def drop(browser: Browser, where: str, files: list[Path]) -> None:
    found = browser.call("Runtime.evaluate", expression=f"document.querySelector('{where} input[type=file]')")
    browser.call("DOM.setFileInputFiles", files=[str(file) for file in files], objectId=found["result"]["objectId"])


def text(browser: Browser, where: str) -> str:
    return str(browser.ask(f"document.querySelector('{where}')?.innerText ?? ''"))


def slide(browser: Browser, share: float) -> None:
    """Move the slider as a hand does: it tells of itself by events."""
    browser.ask(
        "{const slider = document.querySelector('#bm-accept input[type=range]');"
        f"slider.value = {share}; for (const kind of ['input', 'change', 'pointerup'])"
        "slider.dispatchEvent(new Event(kind, {bubbles: true}))}"
    )


def open_many(browser: Browser) -> None:
    browser.ask("document.querySelectorAll('[role=tab]')[1].click()")
    until(browser, f"document.querySelector('{MANY} input[type=file]')?.offsetParent !== undefined")


def test_one_picture_and_the_slider(browser, server, pictures):
    opened(browser, server)
    drop(browser, ONE, [pictures / "test" / "red" / "0.png"])
    assert until(browser, "document.querySelector('#bm-card .bm-label')?.innerText") == "red"
    assert "0.png" in text(browser, "#bm-card") and "look" in text(browser, "#bm-card")
    until(browser, "[...document.querySelectorAll('#bm-pictures img')].filter(i => i.naturalWidth > 99).length == 2")
    score = re.search(r"Unknown score\s+(\S+)", text(browser, "#bm-card"))[1]
    before = text(browser, "#bm-card")
    slide(browser, 0.5)
    until(browser, "document.querySelector('#bm-note').innerText.includes('about 50 in 100')")
    until(browser, "document.querySelector('#bm-card').innerText.includes('50 in 100')")
    after = text(browser, "#bm-card")
    assert before != after and re.search(r"Unknown score\s+(\S+)", after)[1] == score
    slide(browser, 0.999)
    until(browser, "document.querySelector('#bm-note .bm-warning')?.innerText.includes('Every image is accepted')")
    browser.ask(f"document.querySelector('{ONE} [aria-label=Clear]').click()")
    until(browser, "document.querySelector('#bm-card').innerText.includes('Drop a picture')")


def test_the_answer_turns_with_the_share(browser, server, pictures):
    """Of the grey pictures, which are no class, one at least is known at the largest share and unknown at the least."""
    opened(browser, server)
    open_many(browser)
    drop(browser, MANY, sorted((pictures / "test" / "grey").iterdir()))
    count = "document.querySelectorAll('.bm-table tbody tr.bm-unknown').length"
    until(browser, "document.querySelectorAll('.bm-table tbody tr').length == 6")
    slide(browser, 0.5)
    until(browser, f"{count} > 0")
    slide(browser, 0.999)
    until(browser, f"{count} == 0")


def test_several_files_a_table_and_its_download(browser, server, pictures, tmp_path):
    files = [tmp_path / name for name in ("=1+1.png", "<img src=x onerror=alert(1)>.png", "a\nb\u202egpj.exe.png")]
    for file, colour in zip(files, ("red", "green", "blue"), strict=True):
        file.write_bytes((pictures / "test" / colour / "1.png").read_bytes())
    files += [tmp_path / "bomb.png", tmp_path / "cut.png", tmp_path / "notes.txt"]
    for file, content in zip(files[3:], (bomb(), files[0].read_bytes()[:500], b"hello"), strict=True):
        file.write_bytes(content)
    opened(browser, server)
    open_many(browser)
    drop(browser, MANY, files)
    until(browser, "document.querySelectorAll('.bm-table tbody tr').length == 6")
    table = text(browser, "#bm-answers")
    assert "6 pictures: " in table and ", 3 unreadable." in table and "pixels" in table and "not an image" in table
    assert "<img src=x onerror=alert(1)>.png" in table and "a\\nb\\u202egpj.exe.png" in table
    assert browser.ask("document.querySelectorAll('.bm-table img').length") == 3
    folder = tmp_path / "downloads"
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.ask("document.querySelectorAll('.bm-downloads a').forEach(link => link.click())")
    end = time.monotonic() + 20
    while len(list(folder.glob("answers.*[vn]"))) < 2:
        assert time.monotonic() < end, list(folder.iterdir()) if folder.exists() else "nothing was downloaded"
        time.sleep(0.05)
        browser.ask("0")
    with open(folder / "answers.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["'=1+1.png", *(path.name for path in files[1:])]
    assert [bool(row["error"]) for row in rows] == [False, False, False, True, True, True]
    assert [row["label"] for row in json.loads((folder / "answers.json").read_text())[3:]] == [None] * 3


def test_answers_outlive_the_pictures_and_a_refusal_is_read(browser, server, pictures, tmp_path):
    opened(browser, server)
    open_many(browser)
    drop(browser, MANY, sorted((pictures / "test" / "red").iterdir())[:3])
    until(browser, "document.querySelectorAll('.bm-table tbody tr').length == 3")
    assert server.stored() == []
    browser.ask(f"document.querySelector('{MANY} [aria-label=\"Remove this file\"]').click()")
    until(browser, "document.querySelectorAll('.bm-table tbody tr').length == 2")
    assert ", 0 unknown." in text(browser, "#bm-answers") and "unreadable" not in text(browser, "#bm-answers")
    files = [tmp_path / f"{number}.png" for number in range(7)]
    for file in files:
        file.write_bytes(bytes(1_900_000))
    opened(browser, server)
    open_many(browser)
    drop(browser, MANY, files)
    until(browser, "document.body.innerText.includes('More than 13 MB at once are too many. Drop fewer pictures.')")
    assert server.stored() == []


def test_a_bomb_and_a_broken_file_are_messages_and_the_page_goes_on(browser, server, pictures, tmp_path):
    opened(browser, server)
    for name, content, said in (("bomb.png", bomb(), "pixels"), ("cut.png", b"\x89PNG\r\n\x1a\nxx", "")):
        (tmp_path / name).write_bytes(content)
        drop(browser, ONE, [tmp_path / name])
        until(browser, f"document.querySelector('#bm-card .bm-error')?.innerText.includes('{name} cannot be used')")
        assert said in text(browser, "#bm-card") and str(server.temporary) not in text(browser, "body")
        browser.ask(f"document.querySelector('{ONE} [aria-label=Clear]').click()")
        until(browser, f"document.querySelector('{ONE} input[type=file]') !== null")
    drop(browser, ONE, [pictures / "test" / "blue" / "0.png"])
    assert until(browser, "document.querySelector('#bm-card .bm-label')?.innerText")


def test_nothing_comes_from_elsewhere_and_nothing_is_refused(browser, server, pictures):
    opened(browser, server)
    drop(browser, ONE, [pictures / "test" / "green" / "0.png"])
    until(browser, "document.querySelectorAll('#bm-pictures img').length == 2")
    sent = [e["params"]["request"]["url"] for e in browser._events if e["method"] == "Network.requestWillBeSent"]
    assert len(sent) > 10 and {url.split(",")[0][:40] for url in sent if not url.startswith(server.address)} <= {
        "data:image/jpeg;base64",
        "data:image/svg+xml",
    }
    assert [line for line in browser.said if "Content Security" in line or "404" in line or "403" in line] == []


def test_by_keyboard_and_on_a_telephone(browser, server):
    opened(browser, server)
    reached = set()
    for _ in range(14):
        browser.press("Tab", 9)
        reached.add(
            browser.ask("document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText")
        )
    assert {"One picture", "Click to upload or drop files"} <= reached, reached
    assert any("Share of known photos to accept" in str(name) for name in reached), reached
    browser.ask("document.querySelector('#bm-accept input[type=range]').focus()")
    browser.press("Home", 36)
    until(browser, "document.querySelector('#bm-note').innerText.includes('about 50 in 100')")
    assert browser.ask("document.querySelector('#bm-card').getAttribute('aria-live')") == "polite"
    assert browser.ask("document.documentElement.lang") == "en"
    browser.resize(390, 844)
    assert browser.ask("document.documentElement.scrollWidth") == 390
    browser.resize(1280, 900)


def test_what_the_page_does_not_need_is_shut(server, trained):
    for path in (
        "gradio_api/info",
        "openapi.json",
        "docs",
        "gradio_api/runs",
        "gradio_api/file=/etc/hostname",
        "monitoring",
    ):
        assert server.get(path)[0] == 404, path
    assert server.get("", Host="evil.example")[0] == 403
    config = server.get("config")[1]
    assert str(trained) not in config and str(server.temporary) not in config and os.getcwd() not in config
    assert json.loads(config)["analytics_enabled"] is False


def test_uploads_are_limited_and_not_given_out(server, pictures):
    picture = (pictures / "test" / "red" / "0.png").read_bytes()
    status, said = server.upload("x.png", picture)
    (path,) = json.loads(said)
    assert status == 200 and Path(path).read_bytes() == picture and path.startswith(str(server.temporary))
    assert server.get(f"gradio_api/file={path}")[0] == 404
    assert server.upload("x.png", b"x" * 2_000_001)[0] == 413
    data = {"path": path, "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}
    assert "bm-label" in server.join([data, 0.95])[1] and not Path(path).exists()
    assert "drop it again" in server.join([data, 0.95])[1]


def test_no_other_file_and_no_address_is_opened(server, pictures, trained):
    outside = pictures / "test" / "red" / "0.png"
    for path in (outside, trained / "config.yaml", f"{server.temporary}/../{outside}"):
        data = {"path": str(path), "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}
        for given in ([data, 0.95], [{**data, "meta": None}, 0.95], [None, data]):
            said = server.join(given)[1]
            assert (
                "bm-label" not in said
                and "process_completed" in said
                and str(pictures) not in said.replace(str(path), "")
            )
    fetched = {"path": "http://127.0.0.1:9/x.png", "meta": {"_type": "gradio.FileData"}}
    assert server.join([fetched, 0.95])[0] == server.join([None, fetched])[0] == 403
