"""The page in a real browser: on a desk and on a phone, in the light and in the dark, by keyboard."""

import re
from itertools import pairwise

import pytest
import torch
from browser_pipe import Browser, find_browser
from command_folders import colour

from backmix.classifier import OpenSetClassifier
from backmix.data.load import load_source
from backmix.report.page import write_report

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome on this machine")

READY = "Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode() })).then(() => true)"


@pytest.fixture(scope="module")
def reports(mixed_run, tmp_path_factory):
    """An ordinary report, one of long and hostile names, one of many classes."""
    folder = tmp_path_factory.mktemp("browser")
    found = {"ordinary": write_report(mixed_run, folder / "ordinary.html")}
    kinds = {
        "hostile": ["<img src=x onerror=document.title=1>", "\u202egnp", "w" * 180, "line\nbreak", "a b"],
        "many": [f"class {number}" for number in range(40)],
    }
    for name, classes in kinds.items():
        for number, known in enumerate([*classes, "other"]):
            colour(folder / name / known / f"{'n' * 200}.png", (20 * (number % 12), 100, 200))
        torch.manual_seed(0)
        classifier = OpenSetClassifier(classes, model="compact-s", image_size=32, accept=0.5)
        classifier.calibrate(load_source(str(folder / name)))
        classifier.save(folder / f"run-{name}")
        found[name] = write_report(folder / f"run-{name}", folder / f"{name}.html", data=str(folder / name))
    return found


@pytest.mark.parametrize("name", ["ordinary", "hostile", "many"])
def test_no_error_no_overflow_and_every_picture(reports, name):
    for width, dark in ((390, False), (1280, True)):
        with Browser(width=width, dark=dark) as browser:
            browser.open(reports[name])
            assert browser.ask(READY)
            assert browser.said == []
            assert browser.ask("document.documentElement.scrollWidth") <= width
            assert browser.ask("document.images.length") > 5
            assert browser.ask("[...document.images].every(i => i.naturalWidth > 0)")
            assert browser.ask("document.title").endswith(": report")
            colour = browser.ask("getComputedStyle(document.body).backgroundColor")
            assert (max(map(int, re.findall(r"\d+", colour))) < 60) == dark
            # Nothing sticks out of the page but what scrolls in its own box.
            assert (
                browser.ask(
                    "[...document.querySelectorAll('main *')].filter(e => !e.closest('.box') && !e.closest('svg')"
                    f" && e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 80))"
                )
                == []
            )


def test_headings_are_in_order_and_sections_have_names(reports):
    with Browser(width=1280) as browser:
        browser.open(reports["ordinary"])
        levels = browser.ask("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => +h.tagName[1])")
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        tree = browser.call("Accessibility.getFullAXTree")["nodes"]
        roles = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
        for role in ("main", "navigation", "contentinfo", "banner"):
            assert role in [found for found, _ in roles]
        assert all(words for role, words in roles if role in ("image", "region", "table", "link"))


@pytest.mark.parametrize("width", [390, 1280])
def test_tab_reaches_everything_that_can_be_used(reports, width):
    with Browser(width=width) as browser:
        browser.open(reports["ordinary"])
        wanted = "a[href], summary, [tabindex='0'], button, input, select, textarea"
        # What a closed detail holds is reached when it is open.
        open_ones = f"[...document.querySelectorAll(\"{wanted}\")].filter(e => !e.parentElement.closest('details') "
        open_ones += "|| e.tagName == 'SUMMARY')"
        total = browser.ask(f"{open_ones}.map((e, k) => e.dataset.place = k).length")
        places = []
        for _ in range(total):
            browser.press("Tab", 9)
            places.append(browser.ask("+document.activeElement.dataset.place"))
            shown = browser.ask(
                "(e => { const s = getComputedStyle(e), r = e.getBoundingClientRect();"
                " return s.outlineStyle != 'none' && r.width > 0 && r.right > 0 })(document.activeElement)"
            )
            assert shown, f"the focus cannot be seen at {places[-1]}"
        assert places == list(range(total)) and total > 15
        assert browser.ask("document.activeElement.tagName") == "SUMMARY"
        browser.press("Enter", 13)
        browser.press("Tab", 9)
        assert (
            browser.ask("document.activeElement.closest('details') && document.activeElement.ariaLabel") == "fit.yaml"
        )


def test_the_first_tab_skips_to_the_report(reports):
    with Browser(width=1280) as browser:
        browser.open(reports["ordinary"])
        browser.press("Tab", 9)
        assert browser.ask("document.activeElement.textContent") == "Skip to the report"
        assert browser.ask("document.activeElement.getBoundingClientRect().left") >= 0
        browser.press("Enter", 13)
        assert browser.ask("document.activeElement.id") == "main"


def test_a_wide_table_scrolls_by_key(reports):
    with Browser(width=390) as browser:
        browser.open(reports["hostile"])
        wide = "[...document.querySelectorAll('.box')].find(box => box.scrollWidth > box.clientWidth)"
        browser.ask(f"{wide}.focus()")
        for _ in range(3):
            browser.press("ArrowRight", 39)
        browser.ask("new Promise(done => setTimeout(done, 400))")
        assert browser.ask(f"{wide}.scrollLeft") > 0


def test_motion_and_print(reports):
    with Browser(width=1280, still=True) as browser:
        browser.open(reports["ordinary"])
        assert browser.ask("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
        printed = browser.call("Page.printToPDF", printBackground=False)["data"]
        assert len(printed) > 10_000
        browser.call("Emulation.setEmulatedMedia", media="print")
        assert browser.ask("getComputedStyle(document.querySelector('nav')).display") == "none"
        assert browser.ask(
            "[...document.querySelectorAll('.box')].every(b => getComputedStyle(b).overflowX == 'visible')"
        )
