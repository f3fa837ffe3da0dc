"""`backmix audit`: what it writes, prints and ends with, and that nothing in the data breaks it."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from audit_pictures import Made, draw, write_set
from PIL import Image
from typer.testing import CliRunner

from backmix.audit.counterfactuals import SETS
from backmix.audit.journal import FILE
from backmix.cli import app
from backmix.cli.audit import GAP_TOO_LARGE
from backmix.cli.audit_command import AuditArguments, audit_command, gap_above
from backmix.errors import DataError

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Images (with `test` inside) and masks, most on the background of their class."""
    return write_set(tmp_path_factory.mktemp("made"), Made(8, rate=0.8))


def arguments(folders, model="audit_looking:rim", **options):
    images, masks = folders
    return AuditArguments(model, str(images), **{"masks": str(masks), **options})


def read(out):
    with open(out / "images.csv", encoding="utf-8", newline="") as file:
        return json.loads((out / "audit.json").read_text(encoding="utf-8")), list(csv.DictReader(file))


def invoke(*words):
    return CliRunner().invoke(app, ["audit", *map(str, words)], catch_exceptions=True)


def test_what_it_writes(folders, tmp_path, capsys):
    result = audit_command(arguments(folders), tmp_path / "out")
    written, rows = read(tmp_path / "out")
    assert written == json.loads(json.dumps(result))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "audit.html",
        FILE,
        "audit.json",
        "images.csv",
    ]
    assert set(written["accuracy"]) == set(SETS) and set(written["classes"]) == {"cat", "dog", "owl"}
    assert all(0 <= written["accuracy"][name] <= 1 and written["images"][name] == 24 for name in SETS)
    gap = written["background_gap"]
    assert gap["low"] <= gap["value"] <= gap["high"] and gap["value"] > 0.3
    assert written["model"] == {
        "name": "audit_looking:rim",
        "kind": "function",
        "outputs": 3,
        "image_size": 32,
        "unknown_score": None,
    }
    assert written["masks"]["source"] == "given" and written["data"]["split"] == "test" and written["open_set"] is None
    assert len(rows) == 24 and rows[0]["image"].endswith("test/cat/0.png") and rows[0]["part"] == "known"
    assert sum(row["original"] == row["class"] for row in rows) / 24 == pytest.approx(written["accuracy"]["original"])
    assert {row["mixed-same:background"].split("/")[-2] for row in rows if row["class"] == "cat"} == {"cat"}
    said = capsys.readouterr().out
    assert "background gap: mixed-same minus mixed-random: " in said and "mixed-next" in said
    assert "leans on the background of" in said and f"written to {tmp_path}" in " ".join(said.split())


def test_the_gap_ends_it_with_a_status_of_its_own(folders, tmp_path):
    images, masks = folders
    common = (images, "--masks", masks, "--fail-above", "0.1", "--out")
    caught = invoke("audit_looking:rim", *common, tmp_path / "a")
    assert caught.exit_code == GAP_TOO_LARGE == 3
    assert "the background gap is 0." in caught.output and "above the 0.1 allowed" in caught.output
    cleared = invoke("audit_looking:middle", *common, tmp_path / "b")
    assert cleared.exit_code == 0, cleared.output
    again = invoke("audit_looking:rim", *common, tmp_path / "a", "--resume")
    assert again.exit_code == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit_looking:rim", "{images}", "--masks", "nowhere"], "no file or folder 'nowhere'"),
        (["no_model", "{images}"], "there is no model 'no_model'"),
        (["audit_looking:rim", "nodata"], "there is no 'nodata'"),
        (["audit_looking:rim", "{images}", "--masks", "true"], "the data has no masks"),
        (["audit_looking:rim", "{images}", "--split", "val"], "no split 'val'"),
        (
            ["audit_looking:rim", "{images}", "--masks", "centre", "--class-map", "none.yaml"],
            "none.yaml cannot be read",
        ),
        (["audit_looking:not_a_number", "{images}", "--masks", "centre"], "answered NaN"),
    ],
)
def test_what_cannot_be_audited_is_said_in_one_line(folders, tmp_path, words, said):
    words = [word.format(images=folders[0]) for word in words]
    found = invoke(*words, "--out", tmp_path)
    assert found.exit_code == 1 and isinstance(found.exception, Exception)
    assert said in str(found.exception) and "\n" not in str(found.exception)
    assert not any(tmp_path.iterdir())


def test_a_model_that_fails_at_its_first_answers_leaves_nothing_behind(folders, tmp_path, monkeypatch):
    from backmix.audit import run

    def fail(*_):
        raise DataError("out of memory")

    out = tmp_path / "audits" / "out"
    monkeypatch.setattr(run, "_records", fail)
    with pytest.raises(DataError, match="memory"):
        audit_command(arguments(folders, batch_size=8), out)
    assert not out.parent.exists()
    monkeypatch.undo()
    audit_command(arguments(folders, batch_size=4), out)


def test_a_folder_in_use_is_not_overwritten_and_can_be_gone_on_with(folders, tmp_path, capsys):
    first = audit_command(arguments(folders), tmp_path)
    content = (tmp_path / "audit.json").read_bytes()
    with pytest.raises(DataError, match="holds an audit already; go on with it by --resume"):
        audit_command(arguments(folders), tmp_path)
    assert audit_command(arguments(folders), tmp_path, resume=True) == json.loads(json.dumps(first))
    with pytest.raises(DataError, match="other settings: seed was 0, is 1"):
        audit_command(arguments(folders, seed=1), tmp_path, resume=True)
    assert (tmp_path / "audit.json").read_bytes() == content
    # Figures that were not written yet come from the journal, to the bit.
    (tmp_path / "audit.json").unlink()
    audit_command(arguments(folders), tmp_path, resume=True)
    assert (tmp_path / "audit.json").read_bytes() == content


def test_every_fault_is_named_and_none_is_fatal(tmp_path, capsys):
    images, masks = write_set(tmp_path, Made({"cat": 9, "dog": 6, "owl": 1}))
    folder = masks / "cat"
    Image.open(folder / "0.png").resize((20, 20)).save(folder / "0.png")
    Image.new("L", (40, 40)).save(folder / "1.png")
    Image.new("L", (40, 40), 255).save(folder / "2.png")
    Image.open(folder / "3.png").point(lambda value: value // 255).save(folder / "3.png")
    (folder / "4.png").write_bytes(b"no image")
    (folder / "5.png").unlink()
    (images / "test" / "dog" / "9.png").write_bytes(b"")
    for name in ("bee", "ant"):
        path = images / "test" / name / "1.png"
        path.parent.mkdir()
        draw("owl", "owl", np.random.default_rng(0))[0].save(path)
    result = audit_command(arguments((images, masks)), tmp_path / "out")
    _, rows = read(tmp_path / "out")
    faults = {row["image"].split("/test/")[1]: row["fault"] for row in rows if row["fault"]}
    assert faults == {
        "cat/0.png": "mask of another size",
        "cat/1.png": "empty mask",
        "cat/2.png": "mask covers everything",
        "cat/3.png": "mask with nothing above 128",
        "cat/4.png": "unreadable mask",
        "cat/5.png": "no mask",
        "dog/9.png": "unreadable image",
    }
    assert {fault: of["images"] for fault, of in result["masks"]["faults"].items()} == dict.fromkeys(faults.values(), 1)
    assert "dog/9.png: empty (0 bytes)" in result["masks"]["faults"]["unreadable image"]["names"][0]
    assert result["images"] == dict.fromkeys(SETS[:1], 15) | dict.fromkeys(SETS[1:4], 9) | dict.fromkeys(SETS[4:], 8)
    notes = " ".join(result["notes"])
    assert "2 images of 2 classes that the model does not know are left out: ant, bee." in notes
    assert "single image that can be taken apart" in notes and "mixed sets: owl." in notes
    said = " ".join(capsys.readouterr().out.split())
    assert all(note in said for note in result["notes"])


def test_names_that_are_formulas_or_markup_break_nothing(tmp_path, capsys):
    odd = ['=cmd|" C calc"!A0', "<b>bold<b>\u202e[red]", "line\nbreak"]
    source = Made(4)
    source.classes = odd
    images, masks = write_set(tmp_path, source)
    (tmp_path / "map.yaml").write_text(json.dumps(dict(zip(odd, ["cat", "dog", "owl"]))), encoding="utf-8")
    given = arguments((images, masks), class_map=tmp_path / "map.yaml")
    result = audit_command(given, tmp_path / "out")
    written, rows = read(tmp_path / "out")
    assert list(written["classes"]) == list(result["classes"]) == sorted(odd, key=list(written["classes"]).index)
    assert {row["class"].lstrip("'") for row in rows} == set(odd)
    assert not any(cell.startswith(("=", "@", "+")) for row in rows for cell in row.values())
    said = capsys.readouterr().out
    assert "\u202e" not in said and "<b>bold<b>\\u202e[red]" in said


def test_a_run_with_digits_scenes_and_unknown_objects(trained, tmp_path, capsys):
    classes = {"red": "cat", "green": "dog", "blue": "owl", "pink": "owl"}
    source = Made(4)
    random = np.random.default_rng(0)
    source.classes = list(classes)
    source.pairs = [draw(classes[name], classes[name], random) for name in source.classes for _ in range(4)]
    source.labels = source.labels.new_tensor([number for number in range(4) for _ in range(4)])
    folders = write_set(tmp_path, source)
    scenes, _ = write_set(tmp_path / "scenes", Made(3))
    result = audit_command(arguments(folders, str(trained), scenes=str(scenes)), tmp_path / "out")
    assert result["model"]["kind"] == "run" and result["model"]["unknown_score"] == "max_logit"
    assert result["open_set"]["score"] == "max_logit" and result["open_set"]["images"]["Qk"] == 4
    assert set(result["scenes"]) == {"cat", "dog", "owl"} and set(result["classes"]) == {"red", "green", "blue"}
    _, rows = read(tmp_path / "out")
    assert [sum(row["part"] == part for row in rows) for part in ("known", "unknown", "scene")] == [12, 4, 9]
    said = capsys.readouterr().out
    assert "AUROC by max_logit" in said and "misleading index" in said
    other, _ = write_set(tmp_path / "other", Made({"owl": 5}))
    given = arguments(folders, str(trained), unknown=str(other), masks="centre")
    assert audit_command(given, tmp_path / "again")["open_set"]["images"]["Qq"] == 5


@pytest.mark.parametrize(("name", "size"), [("resnet10t", 64), ("vit_tiny_patch16_224", 32)])
def test_a_timm_network_runs_through_unchanged(folders, tmp_path, name, size):
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    options = {"img_size": size} if name.startswith("vit") else {}
    save_file(timm.create_model(name, num_classes=3, **options).state_dict(), tmp_path / "w.safetensors")
    given = arguments(folders, f"timm:{name}@{tmp_path / 'w.safetensors'}", image_size=size)
    result = audit_command(given, tmp_path / "out")
    assert result["model"]["kind"] == "timm" and result["images"] == dict.fromkeys(SETS, 24)
    assert any("outputs have no names" in note for note in result["notes"])
    assert abs(result["background_gap"]["value"]) < 0.4  # It has learnt nothing.


def test_means_are_three_numbers_or_one(folders, tmp_path):
    bad = invoke("audit_looking:rim", folders[0], "--out", tmp_path, "--mean", "0.5,0.5")
    assert bad.exit_code == 2 and "three numbers" in bad.output
    good = invoke(
        "audit_looking:rim", folders[0], "--masks", "centre", "--out", tmp_path, "--mean", "0.5", "--std", "1,1,1"
    )
    assert good.exit_code == 0, good.output


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (None, "there is no background gap to compare"),
        ({"value": 0.2, "low": 0.1, "high": 0.3}, "is 0.200 .95 % interval 0.100 to 0.300., above the 0.1 allowed"),
    ],
)
def test_a_gap_that_is_too_large_or_missing_is_a_reason(gap, said):
    import re

    assert re.search(said, gap_above({"background_gap": gap}, 0.1))
    assert gap_above({"background_gap": {"value": 0.1, "low": 0, "high": 1}}, 0.1) is None


@pytest.mark.slow
def test_killed_and_gone_on_with_is_the_same_file(tmp_path):
    folders = write_set(tmp_path, Made(40, rate=0.8))
    command = [
        sys.executable,
        "-m",
        "backmix",
        "audit",
        "audit_looking:rim",
        str(folders[0]),
        "--masks",
        str(folders[1]),
    ]
    command += ["--batch-size", "4", "--out"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole")], env=environment, check=True, capture_output=True)
    journal = tmp_path / "cut" / FILE
    process = subprocess.Popen([*command, str(tmp_path / "cut")], env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "cut" / "audit.json").exists()
    subprocess.run([*command, str(tmp_path / "cut"), "--resume"], env=environment, check=True, capture_output=True)
    for name in ("audit.json", "images.csv", FILE):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_an_audit_is_not_gone_on_with_on_other_images(tmp_path):
    """A photo is replaced by another one, and no count changes."""
    folders = write_set(tmp_path / "made", Made(4, rate=0.8))
    audit_command(arguments(folders), tmp_path / "out")
    first, second = sorted((folders[0] / "test" / "cat").iterdir())[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataError, match="other settings: data was"):
        audit_command(arguments(folders), tmp_path / "out", resume=True)


def test_scratch_files_of_a_finished_audit_go(folders, tmp_path):
    """It was killed at its last step, or its disk was full then."""
    out = tmp_path / "out"
    audit_command(arguments(folders), out)
    for name in ("pictures.bin", "pictures.json"):
        (out / name).write_bytes(b"{}")
    audit_command(arguments(folders), out, resume=True)
    assert not (out / "pictures.bin").exists() and not (out / "pictures.json").exists()
    assert (out / "audit.json").is_file()
