"""The page of an audit in a real browser: on a desk and on a phone, in the light and in the dark, by keyboard."""

import re

import pytest
from audit_pages import PAGES
from browser_pipe import Browser, find_browser

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome on this machine")

READY = "Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode() })).then(() => true)"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in PAGES.items()}


@pytest.mark.parametrize("name", PAGES)
def test_no_error_no_overflow_and_every_picture(files, name):
    for width, dark in ((390, False), (1280, True)):
        with Browser(width=width, dark=dark) as browser:
            browser.open(files[name])
            assert browser.ask(READY)
            assert browser.said == []
            assert browser.ask("document.documentElement.scrollWidth") <= width
            assert browser.ask("[...document.images].every(i => i.naturalWidth > 0)")
            assert browser.ask("document.title").endswith(": audit")
            colour = browser.ask("getComputedStyle(document.body).backgroundColor")
            assert (max(map(int, re.findall(r"\d+", colour))) < 60) == dark
            assert (
                browser.ask(
                    "[...document.querySelectorAll('main *')].filter(e => !e.closest('.box')"
                    f" && e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 80))"
                )
                == []
            )


def test_bars_are_as_long_as_their_figures(files):
    with Browser(width=1280) as browser:
        browser.open(files["ordinary"])
        bars = browser.ask(
            "[...document.querySelectorAll('.sets .track')].map(t => [t.ariaLabel,"
            " t.querySelector('.fill').getBoundingClientRect().width / t.getBoundingClientRect().width])"
        )
        assert len(bars) == 7
        for words, length in bars:
            share = float(re.search(r": ([\d.]+)", words)[1]) / 100
            assert length == pytest.approx(share, abs=0.01), words


def test_everything_that_can_be_used_is_reached_by_tab(files):
    with Browser(width=390) as browser:
        browser.open(files["ordinary"])
        wanted = "a[href], summary, [tabindex='0'], button, input, select, textarea"
        total = browser.ask(f'[...document.querySelectorAll("{wanted}")].map((e, k) => e.dataset.place = k).length')
        places = []
        for _ in range(total):
            browser.press("Tab", 9)
            places.append(browser.ask("+document.activeElement.dataset.place"))
        assert places == list(range(total)) and total > 10
