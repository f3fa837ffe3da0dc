"""The page of an audit as a whole: one file that needs nothing, says what was found, and takes any name."""

import json
import re
from itertools import pairwise

import pytest
from audit_pages import PAGES, ordinary
from audit_pictures import Made, write_set
from report_html import Page

from backmix.audit.counterfactuals import SETS
from backmix.audit.page import SECTIONS
from backmix.cli.audit_command import AuditArguments, audit_command
from backmix.errors import TrainingError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in PAGES.items()}


@pytest.fixture(scope="module")
def pages(files):
    return {name: Page(file.read_text(encoding="utf-8")) for name, file in files.items()}


def result_of(file):
    return json.loads((file.parent / "audit.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_whole_safe_and_needs_nothing(files, pages, name):
    page, written = pages[name], files[name].read_text(encoding="utf-8")
    assert page.wrong == [] and page.open == []
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base", "input", "button", "audio", "video", "b"}
    for tag, attributes in page.elements:
        assert not [each for each in attributes if each.startswith("on")], tag
        for each in ("src", "href", "action", "srcset", "data"):
            if each in attributes:
                assert re.match(r"data:image/(jpeg|png);base64,|data:,$|#[\w-]+$", attributes[each]), (tag, each)
        assert "url(" not in (attributes.get("style") or "")
    assert "http://" not in written and "https://" not in written and "@import" not in written
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert len(written.encode()) < 3e6 and "\u202e" not in written and "\ufffd" not in written


@pytest.mark.parametrize("name", PAGES)
def test_every_page_can_be_read_with_ears(pages, name):
    page = pages[name]
    assert page.all("html")[0]["lang"] == "en" and len(page.all("h1")) == 1 and len(page.all("main")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    assert all(image["alt"] for image in page.all("img"))
    drawn = [each for each in page.all("div") if each.get("class") == "track"]
    assert all(each["role"] == "img" and each["aria-label"] for each in drawn)
    assert all(cell.get("scope") for cell in page.all("th")) and len(page.all("caption")) == len(page.all("table"))
    boxes = [each for each in page.all("div") if "box" in (each.get("class") or "").split()]
    assert boxes and all(box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"] for box in boxes)
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    assert all(link["href"][1:] in identities for link in page.all("a"))
    expected = [key for key in SECTIONS if key != "open" or name == "unknown"]
    if name == "unknown":  # Its masks are estimated, so what they are worth stands before what they say.
        expected = list(dict.fromkeys(["summary", "masks", *expected]))
    assert [section["id"] for section in page.all("section")] == expected


def test_the_numbers_are_those_of_the_json(files, pages):
    result, text = result_of(files["ordinary"]), pages["ordinary"].text
    gap = result["background_gap"]
    assert f"{100 * gap['value']:.1f} points" in text and f"{100 * gap['low']:.1f} to {100 * gap['high']:.1f}" in text
    assert "This classifier recognises much by the background." in text
    assert "The gap is above the 10 points allowed by --fail-above: the audit fails." in text
    for name in SETS:
        assert f"{100 * result['accuracy'][name]:.1f}\u00a0%".replace("\u00a0", " ") in text
    assert f"chance, {100 * result['from_background']['chance']:.1f}".removesuffix(".0") in text
    gaps = [(-of["background_gap"]["value"], name) for name, of in result["classes"].items()]
    table = text[text.index("Classes by background gap") : text.index("What it answers on scenes")]
    places = [table.index(f" {name} ", table.index("on one of any class")) for _, name in sorted(gaps)]
    assert places == sorted(places)
    assert "its images are answered so" in table


def test_pictures_come_with_their_answers(files, pages):
    result, page = result_of(files["ordinary"]), pages["ordinary"]
    shown = min(12, len(result["background_decides"]))
    assert len(page.all("img")) == 7 + 5 * shown + 2 * 6
    first = result["background_decides"][0]
    row = page.text[page.text.index("Where the background decides", 400) :]
    row = row[row.index("right, ✗ wrong.") : row.index("background of the next class:")]
    assert "original" in row and "only the object" in row and "✓ right:" in row and "✗ wrong:" in row
    assert f"background of its class: {first['donors']['mixed-same']['class']}" in " ".join(row.split())
    assert first["answers"]["mixed-random"] in row


def test_unknown_objects_and_estimated_masks_are_told(files, pages):
    result, text = result_of(files["unknown"]), pages["unknown"].text
    for pair in ("Kk against Qk", "Kk against Qq", "Kq against Qk", "Kq against Qq"):
        assert pair in text
    assert f"{100 * result['open_set']['misleading_index']['value']:.1f} points" in text
    assert "Known backgrounds make it take unknown objects for known ones." in text
    assert "estimated from the pictures by saliency" in text and "do not trust the figures" in text
    assert "--masks saliency" in text and "--unknown" in text
    assert "No class is judged here: the masks are estimated." in text
    assert text.index("First the masks, which are estimated by saliency") < text.index("a gap of")


def test_names_are_shown_as_they_are_written(pages):
    text = pages["hostile"].text
    assert "<img src=x onerror=document.title=1>" in text and "\\u202egnp" in text and "line\\nbreak" in text
    assert "{{7*7}}{% raw %}" in text
    assert "broken<script>.png" in text and "unreadable image" in text and "no mask" in text
    assert "w" * 161 not in text[: text.index("To do it again")]


def test_without_masks_the_page_says_what_it_cannot(pages):
    text = pages["poor"].text
    assert "whether it looks at the object cannot be said" in text and "so the audit fails" in text
    assert "No image could be taken apart into object and background." in text
    assert "There is no image that is answered right on its own background" in text
    assert "9 images left out of every set but the originals: empty mask." in text


def test_the_command_repeats_it(files, pages):
    command = pages["ordinary"].text
    command = command[command.rindex("backmix audit audit_looking:rim") :].split("Settings")[0]
    words = command.split()
    assert words[:2] == ["backmix", "audit"] and words[4:6] == ["--out", "NEW"]
    assert words[-2:] == ["--fail-above", "0.1"] and "--masks" in words and "--scenes" in words
    assert "--seed" not in words and "--workers" not in words


def test_the_same_audit_gives_the_same_page(tmp_path, files):
    images, masks = write_set(tmp_path / "set", Made(5, rate=0.8))
    arguments = AuditArguments("audit_looking:rim", str(images), masks=str(masks))
    contents = []
    for name in ("a", "b"):
        audit_command(arguments, tmp_path / name)
        contents.append((tmp_path / name / "audit.html").read_bytes())
    assert contents[0] == contents[1]
    # A page that was deleted is made again from the journal.
    (tmp_path / "a" / "audit.html").unlink()
    audit_command(arguments, tmp_path / "a", resume=True)
    assert (tmp_path / "a" / "audit.html").read_bytes() == contents[0]
    assert not (tmp_path / "a" / "pictures.bin").exists()


def test_a_page_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "out" / "audit.html").mkdir(parents=True)
    with pytest.raises(TrainingError, match=r"audit\.html"):
        ordinary(tmp_path)
