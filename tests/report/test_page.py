"""The page as a whole: one file that needs nothing, says the truth, and takes any name."""

import json
import re
import shutil
from itertools import pairwise

import pytest
import torch
from command_folders import colour
from report_html import Page

from backmix.classifier import OpenSetClassifier
from backmix.data.load import load_source
from backmix.errors import DataError, RunError, TrainingError
from backmix.report.page import SECTIONS, write_report
from backmix.runs.folder import load_run

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "a\"b'c & d",
    "line\nbreak",
    "\u202egnp.exe",
    "עברית",
    "{{7*7}}{% raw %}",
    "x" * 200,
    "=cmd|1",
]


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "page.html"
    assert write_report(trained, file) == file
    return file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(written):
    return Page(written)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The report of a run, a data set and files of names that no one chose with a web page in mind."""
    folder = tmp_path_factory.mktemp("hostile") / '<b>da"ta\n'
    for number, name in enumerate([*HOSTILE, "<svg onload=alert(2)>", "<b>other</b"]):
        for image in range(4):
            colour(folder / name / f"{image}<i>'\".png", (20 * number, 100, 255 - 20 * number))
        (folder / name / "broken<script>.png").write_bytes(b"no picture")
    torch.manual_seed(0)
    known = [*HOSTILE, "</style></title><script>alert(3)</script>"]
    classifier = OpenSetClassifier(known, model="compact-s", image_size=32, accept=0.5)
    classifier.calibrate(load_source(str(folder)), per_class=True)
    run = folder.parent / "run\u202e<script>alert(4)"
    classifier.save(run)
    return write_report(run, folder.parent / "page.html", data=str(folder)).read_text(encoding="utf-8")


def check(page):
    """What holds for every page."""
    assert page.wrong == [] and page.open == []
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base", "input", "button", "audio", "video"}
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "action", "srcset", "xlink:href", "data"):
            if name in attributes:
                assert re.match(r"data:image/(jpeg|png);base64,|data:,$|#[\w-]+$", attributes[name]), (tag, name)
        assert "url(" not in (attributes.get("style") or "")
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    # Read with ears: one language, one h1, no level left out, and something said for each picture.
    assert page.all("html")[0]["lang"] == "en" and len(page.all("h1")) == 1 and len(page.all("main")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    assert all(image["alt"] for image in page.all("img"))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert all(row.get("scope") for row in page.all("th")) and len(page.all("caption")) == len(page.all("table"))
    boxes = [each for each in page.all("div") if "box" in (each.get("class") or "").split()]
    assert all(box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"] for box in boxes)
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    for link in page.all("a"):
        assert link["href"][1:] in identities
    assert [section["id"] for section in page.all("section")] == [key for key in SECTIONS if key != "choice"]
    return page


def test_a_page_is_whole_and_needs_nothing(page, written):
    check(page)
    assert len(written.encode()) < 6e6
    assert "http://" not in written and "https://" not in written and "\ufffd" not in written


def test_the_numbers_of_the_summary_are_those_of_the_classifier(page, trained, pictures):
    result = load_run(trained).evaluate(load_source(str(pictures), "test"), detectors=["max_logit"])
    figures = result["detectors"]["max_logit"]
    accepted, right = (round(18 * figures[name]) for name in ("accepted_known", "accuracy_with_rejection"))
    if right < 18:
        assert f"Of 18 new images of known classes it answers {right} right" in page.text
    else:
        assert "It answers all 18 new images of known classes right." in page.text
    assert f"Observed: {accepted} of 18 accepted" in page.text
    assert f"AUROC {figures['auroc']:.3f}" in page.text
    assert f"OSCR {figures['oscr']:.3f}" in page.text
    assert "Only 18 images of known classes were tested" in page.text and "Only 6 images of other things" in page.text


def test_every_section_has_its_content(page):
    text = page.text
    for words in (
        "Confusion matrix.",
        "Unknown scores",
        "p-values of known images",
        "ROC",
        "Known classes, worst first",
        "Most confident mistakes",
        "trained without BackMix",
        "Learning rate",
        "backmix fit --config",
        "backmix calibrate NEW",
        "backmix report NEW",
        "Every image could be read.",
        "near_duplicates",
    ):
        assert words in text
    assert len(page.all("svg")) == 7


def test_the_same_run_gives_the_same_file(trained, written, tmp_path):
    again = write_report(trained, tmp_path / "again.html").read_text(encoding="utf-8")
    assert again == written
    assert not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", re.sub(r"base64,[^\"]+", "", again))


def test_by_default_it_stands_in_the_run(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    assert write_report(str(run)) == run / "report.html" and (run / "report.html").is_file()
    load_run(run)  # The run is none the worse for it.


def test_hostile_names_are_text_and_nothing_else(hostile):
    page = check(Page(hostile))
    spelled = {"line\nbreak": "line\\nbreak", "\u202egnp.exe": "\\u202egnp.exe"}
    others = ["</style></title><script>alert(3)</script>", "<svg onload=alert(2)>", "run\\u202e<script>alert(4)"]
    for name in [*others, *(spelled.get(name, name) for name in HOSTILE if len(name) < 100)]:
        assert name in page.text, name
    assert "49" not in page.text.split("{{7*7}}")[0][-3:]
    assert not set(page.text) & set("\u202a\u202b\u202c\u202d\u202e\0") and "x" * 160 not in page.text
    words = " ".join(image["alt"] for image in page.all("img"))
    assert "\\n" in words or "onerror" in words or "xxx" in words
    assert "\u202e" not in words and "\n" not in words
    assert "10 images could not be read and are not counted" in page.text and "broken<script>.png" in page.text
    assert "of 9 classes ha" in page.text  # Thresholds of their own.


def test_names_stand_in_a_direction_of_their_own(hostile):
    for name in ("עברית", "&lt;svg onload=alert(2)&gt;"):
        found = [hostile[match.start() - 24 : match.start()] for match in re.finditer(re.escape(name), hostile)]
        assert found and all("<bdi" in before or "\u2068" in before or "/" in before for before in found)


def test_what_is_missing_is_said(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    for name in ("held-out.json", "metrics.json", "fit.yaml", "checkpoint.pt"):
        (run / name).unlink()
    page = check(Page(write_report(run).read_text(encoding="utf-8")))
    assert "No images were tested. This run does not say which images it held out" in page.text
    assert "There are no training curves: The run has no metrics.json." in page.text
    assert "holds no fit.yaml" in page.text and "not told by the run" in page.text
    assert len(page.all("svg")) == 0


def test_known_images_alone_and_unknown_ones_alone(trained, tmp_path):
    for number in range(4):
        colour(tmp_path / "known" / "red" / f"{number}.png", (200, 40, 40))
        colour(tmp_path / "known" / "blue" / f"{number}.png", (50, 60, 200))
        colour(tmp_path / "strange" / "pink" / f"{number}.png", (250, 120, 200))
        colour(tmp_path / "strange" / "teal" / f"{number}.png", (0, 120, 120))
    known = check(Page(write_report(trained, tmp_path / "a.html", data=str(tmp_path / "known")).read_text("utf-8")))
    assert "No image of anything else was tested" in known.text and "need images of both kinds" in known.text
    assert "1 known class has no image among those tested" in known.text
    strange = check(Page(write_report(trained, tmp_path / "b.html", data=str(tmp_path / "strange")).read_text("utf-8")))
    assert "No image of a known class was tested" in strange.text and "Observed: nothing" in strange.text
    both = write_report(trained, tmp_path / "c.html", data=str(tmp_path / "known"), unknown=str(tmp_path / "strange"))
    both = check(Page(both.read_text("utf-8")))
    assert "come from other data than the known ones" in both.text and "AUROC" in both.text


def test_two_hundred_classes_fit_on_a_page(tmp_path):
    classes = [f"class {number:03d}" for number in range(200)]
    classifier = OpenSetClassifier(classes, model="compact-s", image_size=32)
    for number in range(0, 200, 4):
        colour(tmp_path / "data" / classes[number] / "0.png", (number, 255 - number, 90))
    classifier.calibrate(load_source(str(tmp_path / "data")))
    classifier.save(tmp_path / "run")
    text = write_report(tmp_path / "run", data=str(tmp_path / "data")).read_text(encoding="utf-8")
    page = check(Page(text))
    assert "too many classes for a table" in page.text and "All 200 rows and 201 answers." in page.text
    assert "class 199" in page.text and len(text.encode()) < 2e6
    assert [image for image in page.all("img") if image["alt"].startswith("Confusion matrix of 200")]


def test_a_classifier_without_a_threshold(tmp_path):
    OpenSetClassifier(["red", "blue"], model="compact-s", image_size=32).save(tmp_path / "run")
    for name in ("red", "blue", "pink"):
        colour(tmp_path / "data" / name / "0.png", (90, 60, 200))
    text = write_report(tmp_path / "run", data=str(tmp_path / "data")).read_text(encoding="utf-8")
    assert "There is no threshold: everything is accepted." in check(Page(text)).text


def test_samples_of_backmix_are_shown(mixed_run, tmp_path):
    page = check(Page(write_report(mixed_run, tmp_path / "page.html").read_text(encoding="utf-8")))
    assert "A square of the donor's background is pasted" in page.text
    assert sum(image["alt"].startswith("Mixed image, still labelled") for image in page.all("img")) >= 1
    assert "near_duplicates no" in page.text


def test_unreadable_images_of_the_training_are_listed(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["unreadable"] = [{"path": f"/photos/{k}.png", "reason": "empty <0 bytes>"} for k in range(130)]
    (run / "metrics.json").write_text(json.dumps(metrics))
    text = check(Page(write_report(run).read_text(encoding="utf-8"))).text
    assert "/photos/99.png empty <0 bytes>" in text and "/photos/100.png" not in text
    assert "30 images more could not be read." in text


def test_what_cannot_be_used_is_an_error(trained, tmp_path):
    with pytest.raises(RunError, match="not a folder"):
        write_report(tmp_path / "nothing")
    with pytest.raises(DataError, match="nowhere"):
        write_report(trained, tmp_path / "a.html", data="nowhere/at/all")
    (tmp_path / "file").write_text("")
    with pytest.raises((TrainingError, OSError)):
        write_report(trained, tmp_path / "file" / "a.html")
