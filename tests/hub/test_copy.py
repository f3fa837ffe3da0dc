"""The copy that is shared: a run like any other, from which nothing of the machine or its people can be read."""

import json
import shutil

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from signed_run import sign

from backmix.classifier import OpenSetClassifier
from backmix.errors import RunError
from backmix.files import LOCK, write_json
from backmix.hub.copy import LEFT_OUT, SETTINGS, UNFINISHED, is_plain, shared_config, write_shared_copy
from backmix.runs.folder import CHECKED, TRAINING, load_run, read_config
from backmix.runs.held_out import Share, Shares, write_shares

PICTURE = Image.new("RGB", (40, 40), (200, 40, 40))
NAME = "alice/colours"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def with_config(run, **changes):
    config = read_config(run)
    names = [name for name in config.pop("files") if name != "config.yaml"]
    sign(run, {**config, **changes}, names)
    return run


def share(run, **options):
    return write_shared_copy(run, run.parent / "shared", name=NAME, **options)


def refused(call, message):
    with pytest.raises(RunError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_copy_is_a_run_and_answers_the_same(run):
    copy = share(run)
    assert copy.files == (*CHECKED, "config.yaml", "README.md") and copy.left_out == ("arguments.data",)
    assert {path.name for path in copy.folder.iterdir()} == set(copy.files)
    assert load_run(copy.folder).predict([PICTURE]) == load_run(run).predict([PICTURE])
    ours, theirs = read_config(run), read_config(copy.folder)
    assert {key: theirs[key] for key in SETTINGS} == {key: ours[key] for key in SETTINGS}
    assert theirs["training"] == ours["training"]
    assert theirs["arguments"] == ours["arguments"] | {"data": LEFT_OUT}
    assert set(theirs["files"]) == {*CHECKED, "config.yaml"}


def test_the_same_run_gives_the_same_copy(run):
    first, second = share(run), write_shared_copy(run, run.parent / "again", name=NAME)
    for name in first.files:
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_a_copy_of_a_copy_is_the_copy(run):
    first = share(run, card=False)
    second = write_shared_copy(first.folder, run.parent / "again", name=NAME, card=False)
    assert first.files == (*CHECKED, "config.yaml")
    for name in first.files:
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_paths_names_and_notes_are_left_out(run):
    secrets = {
        "data": "/home/jane/clients/acme/photos",
        "outliers": "jane/others",
        "known_classes": "red,jane",
        "budget": "jane's ten minutes",
        "config": "jane.yaml",
        "augmentation_options": {"masks": "/home/jane/masks"},
    }
    config = read_config(run)
    with_config(
        run,
        arguments={**config["arguments"], **secrets},
        author="jane",
        paths=["/home/jane"],
        notes={"who": "jane", "/home/jane": 1, "size": 3},
        seconds=12.5,
    )
    copy = share(run)
    text = (copy.folder / "config.yaml").read_text() + (copy.folder / "README.md").read_text()
    assert "jane" not in text and "acme" not in text
    shared = read_config(copy.folder)
    assert {shared["arguments"][key] for key in secrets} == {LEFT_OUT}
    assert shared["notes"] == {"who": LEFT_OUT, "size": 3} and shared["seconds"] == 12.5
    assert set(copy.left_out) == {
        *(f"arguments.{key}" for key in secrets),
        "author",
        "paths",
        "notes.who",
        "an entry of notes",
    }


@pytest.mark.parametrize(
    ("data", "recorded", "stays"),
    [
        ("digits:prior=0.8,seed=1", None, True),
        ("hub:owner/data", None, True),
        ("owner/data", "owner/data", True),  # There was no such folder when it was trained.
        ("acme/photos", "/home/jane/acme/photos", False),
        ("acme/photos", None, False),
        ("photos", "photos", False),
        ("digits/../jane", None, False),
    ],
)
def test_data_is_named_where_it_is_no_path(run, data, recorded, stays):
    config = read_config(run)
    with_config(run, arguments={**config["arguments"], "data": data})
    (run / "held-out.json").unlink(missing_ok=True)
    if recorded:
        write_shares(run, Shares(recorded, Share(None, ["jane/1.png"])))
    copy = share(run)
    assert read_config(copy.folder)["arguments"]["data"] == (data if stays else LEFT_OUT)
    assert "jane" not in "".join((copy.folder / name).read_text() for name in ("config.yaml", "README.md"))


@given(st.builds("{}{}{}".format, st.text(), st.sampled_from(["/", "\\", " ", "~", ":"]), st.text()))
def test_no_text_that_may_be_a_path_gets_through(tmp_path_factory, text):
    settings = {**dict.fromkeys(SETTINGS, 1), "model_options": {}}
    config = {
        **settings,
        "format": 1,
        "backmix": "1",
        "arguments": {"data": f"/{text}", "outliers": text, "method": text, text: 1, "options": {"a": [text]}},
        "training": {"schedule": text, "milestones": [0.5]},
        text: {"a": text},
        "note": text,
    }
    shared, _ = shared_config(config, tmp_path_factory.getbasetemp(), ["a", "b"])
    found = []

    def look(value):
        if isinstance(value, dict):
            for key, entry in value.items():
                look(key)
                look(entry)
        elif isinstance(value, list | tuple):
            for entry in value:
                look(entry)
        else:
            found.append(value)

    look(shared)
    assert text not in found and f"/{text}" not in found
    assert shared["training"] == {"schedule": LEFT_OUT, "milestones": [0.5]}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (1, True),
        ([0.5, None, True], True),
        ({"a": {"b": (1, 2)}}, True),
        ("clean", True),
        ("resnet18.a1_in1k", True),
        ("a/b", False),
        ("/a", False),
        ("~", False),
        ("a\nb", False),
        ({"/a": 1}, False),
        (b"a", False),
        ({1, 2}, False),
    ],
)
def test_what_is_plain(value, plain):
    assert is_plain(value, words=True) is plain
    if isinstance(value, str):
        assert not is_plain(value, words=False)


def test_a_network_that_others_do_not_have_is_not_shared(run):
    with_config(run, model="local-dir:/home/jane/net")
    # Loading it fails already; what is shared is looked at on its own.
    with pytest.raises(RunError, match="cannot be shared: its network is built with model 'local-dir"):
        shared_config(read_config(run), run, ["a", "b"])


def test_where_weights_came_from_is_left_out_of_the_options(tmp_path):
    classifier = OpenSetClassifier(["a", "b"], model="compact-s", model_options={"width": 0.5})
    classifier.settings["model_options"] |= {"cache_dir": "/home/jane", "pretrained_cfg": {"file": "/home/jane"}}
    classifier.save(tmp_path / "run")
    copy = share(tmp_path / "run")
    assert read_config(copy.folder)["model_options"] == {"width": 0.5}
    assert load_run(copy.folder).classes == ["a", "b"]


def test_features_of_training_images_are_shared_where_the_detector_is_fitted_on_them(run):
    assert TRAINING not in share(run).files
    content = json.loads((run / "calibration.json").read_text())
    content["detector"] = "openmax"
    write_json(run / "calibration.json", content)
    with_config(run)
    copy = write_shared_copy(run, run.parent / "fitted", name=NAME)
    assert TRAINING in copy.files
    assert load_run(copy.folder).predict([PICTURE]) == load_run(run).predict([PICTURE])
    assert "holds features, logits and labels of training images" in (copy.folder / "README.md").read_text()
    refused(
        lambda: write_shared_copy(run, run.parent / "without", name=NAME, training_outputs=False),
        "detector openmax decides, and it is fitted on training.safetensors",
    )


def test_where_example_unknowns_lie_is_left_out_of_the_calibration(run):
    content = json.loads((run / "calibration.json").read_text())
    chosen = {"detector": "max_logit", "auroc": {"max_logit": 0.9, "msp": 0.8}, "images": 30}
    content["chosen"] = {**chosen, "unknown": "/home/jane/others", "left_out": {"vim": "/home/jane"}}
    content["note"] = "jane"
    write_json(run / "calibration.json", content)
    copy = share(with_config(run))
    shared = json.loads((copy.folder / "calibration.json").read_text())
    own = {key: shared.pop(key) for key in ("run", "sha256")}  # The fingerprints are those of the copy.
    kept = {key: value for key, value in content.items() if key not in ("note", *own)}
    assert shared == kept | {"chosen": chosen}
    assert "30 example images of no known class chose this unknown score" in (copy.folder / "README.md").read_text()
    assert "jane" not in "".join((copy.folder / name).read_text() for name in copy.files if name[0] != "m")


@pytest.mark.parametrize("chosen", ["jane", {"detector": "/home/jane"}, {"auroc": {"/home/jane": 0.5}}])
def test_a_choice_that_says_more_is_left_out(run, chosen):
    content = json.loads((run / "calibration.json").read_text())
    write_json(run / "calibration.json", {**content, "chosen": chosen})
    copy = share(with_config(run))
    shared = json.loads((copy.folder / "calibration.json").read_text())
    assert shared == {**content, **{key: shared[key] for key in ("run", "sha256")}}


def test_features_that_were_not_kept_cannot_be_shared(tmp_path):
    OpenSetClassifier(["a", "b"], model="compact-s").save(tmp_path / "run")
    refused(lambda: share(tmp_path / "run", training_outputs=True), "has no training.safetensors to share")


def test_a_folder_that_is_in_use_is_left_alone(run):
    folder = run.parent / "shared"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    refused(lambda: share(run), "is not an empty folder")
    assert [path.name for path in folder.iterdir()] == ["mine"]
    refused(lambda: write_shared_copy(run, folder / "mine", name=NAME), "is not an empty folder")


def test_a_copy_that_a_killed_process_did_not_finish_is_written_again(run, tmp_path):
    whole = share(run)
    files = {path.name: path.read_bytes() for path in whole.folder.iterdir()}
    half = tmp_path / "half"
    half.mkdir()
    (half / UNFINISHED).touch()
    (half / LOCK).touch()
    (half / "model.safetensors").write_bytes(b"half of it")
    (half / TRAINING).write_bytes(b"of another try")
    (half / "mine").write_text("mine")
    write_shared_copy(run, half, name=NAME)
    assert (half / "mine").read_text() == "mine"
    (half / "mine").unlink()
    assert {path.name: path.read_bytes() for path in half.iterdir()} == files
    refused(lambda: write_shared_copy(run, half, name=NAME), "is not an empty folder")


@pytest.mark.parametrize("name", [*CHECKED, TRAINING])
def test_an_altered_run_is_not_shared(run, name):
    (run / name).write_bytes((run / name).read_bytes() + b"x")
    refused(lambda: share(run), "is not the file this run was saved with")
    assert not (run.parent / "shared").exists()


def figures(run, about=...):
    config = read_config(run)
    own = {"backmix": config["backmix"], "arguments": config["arguments"], "training": config["training"]}
    entry = {"auroc": 0.876, "oscr": 0.75, "fpr95": 0.5, "accepted_known": 0.94, "rejected_unknown": 0.6}
    content = {
        "images": {"known": 120, "unknown": 80, "unreadable": 1},
        "accuracy": 0.912,
        "detectors": {"max_logit": entry, "msp": {"auroc": 0.111}},
        "unreadable": [{"path": "/home/jane/1.png", "reason": "jane"}],
        "left_out": {},
        "run": own if about is ... else about,
    }
    path = run.parent / "figures.json"
    path.write_text(json.dumps(content))
    return path


def test_figures_of_this_run_stand_in_the_card(run):
    text = (share(run, evaluation=figures(run)).folder / "README.md").read_text()
    assert "| accuracy | 91.2 % |" in text and "| AUROC | 87.6 % |" in text and "| rejected | 60 % |" in text
    assert "120 images of the known classes and 80 of other classes" in text and "11.1" not in text
    assert "jane" not in text


def test_figures_of_another_run_do_not(run):
    other = read_config(run)["training"] | {"seed": 99}
    path = figures(run, {"arguments": read_config(run)["arguments"], "training": other})
    refused(lambda: share(run, evaluation=path), "holds figures of another run. Evaluate this one")
    refused(lambda: share(run, evaluation=figures(run, None)), "holds figures of another run")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"detectors": []}', b"\xff", b"[" * 10**5, None])
def test_what_is_no_file_of_figures(run, content):
    path = run.parent / "figures.json"
    if content is not None:
        path.write_bytes(content)
    refused(lambda: share(run, evaluation=path), r"figures\.json (holds no|cannot be read as) figures")
    assert not (run.parent / "shared").exists()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"test": 3, "images": [], "held_out_accuracy": "x"}', b"[" * 10**5]
)
def test_metrics_that_say_nothing_are_left_out_of_the_card(run, content):
    (run / "metrics.json").write_bytes(content)
    assert "## Figures\n\nNone were given" in (share(run).folder / "README.md").read_text()


def test_references_are_written_out(tmp_path):
    """Two places that hold the same list: YAML would write a reference, which is refused on the way in."""
    same = [1, 2]
    OpenSetClassifier(["a", "b"], model="compact-s").save(tmp_path / "run", extra={"a": same, "b": same})
    assert "&" not in (tmp_path / "run" / "config.yaml").read_text()
    copy = share(tmp_path / "run")
    assert read_config(copy.folder)["b"] == same
    assert yaml.safe_load((copy.folder / "config.yaml").read_text())["a"] == same
