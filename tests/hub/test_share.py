"""Runs on the hub: what is fetched, what is sent, and every way in which the two can fail."""

import json
import pickle
import shutil
import socket

import pytest
import yaml
from hub_server import Hub
from huggingface_hub import constants
from PIL import Image

from backmix.classifier import OpenSetClassifier
from backmix.errors import RunError
from backmix.hub.share import save_to_hub
from backmix.runs.fetch import NEEDED, hub_id, run_folder

PICTURE = Image.new("RGB", (40, 40), (200, 40, 40))
NAME = "alice/colours"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, with a cache of its own and nobody logged in."""
    server = Hub()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "tokens"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def shared(hub, trained):
    """The hub with the run of the tests on it."""
    save_to_hub(trained, NAME, token=Hub.TOKEN)
    hub.requests.clear()
    return hub


def refused(call, message):
    with pytest.raises(RunError, match=message) as caught:
        call()
    said = str(caught.value)
    assert "\n" not in said and said.count(NAME) <= 3, said
    return said


def load(run="hub:" + NAME, **options):
    return OpenSetClassifier.load(run, **options)


def test_what_is_shared_comes_back_the_same(hub, trained):
    address = save_to_hub(trained, NAME, token=Hub.TOKEN)
    assert address == f"{hub.address}/{NAME}"
    assert set(hub.repositories[NAME].files) == {".gitattributes", *NEEDED, "README.md"}
    ours, theirs = OpenSetClassifier.load(trained), load()
    assert theirs.predict([PICTURE]) == ours.predict([PICTURE])
    assert theirs.classes == ours.classes and theirs.training_outputs is None
    assert hub.fetched == set(NEEDED)


def test_what_was_fetched_is_at_hand_without_a_network(shared, monkeypatch):
    first = load()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    shared.requests.clear()
    assert load().predict([PICTURE]) == first.predict([PICTURE])
    assert load(NAME).classes == first.classes
    assert shared.requests == []


@pytest.mark.parametrize("failure", ["refuses", "silent"])
def test_what_was_fetched_is_used_while_the_hub_is_down(shared, failure):
    load()
    if failure == "refuses":
        shared.status = 503
    else:
        shared.shutdown()
        shared.server_close()
    assert load().classes == ["blue", "green", "red"]


def test_nothing_of_the_machine_arrives(hub, trained, tmp_path, pictures):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "report.html").write_text("jane")
    (run / "jane.jpg").write_text("jane")
    assert {"checkpoint.pt", "logs", "metrics.json"} <= {path.name for path in run.iterdir()}
    save_to_hub(run, NAME, token=Hub.TOKEN, training_outputs=True)
    files = hub.repositories[NAME].files
    assert set(files) == {".gitattributes", *NEEDED, "training.safetensors", "README.md"}
    assert "arguments" in yaml.safe_load(files["config.yaml"])
    everything = b"".join([*files.values(), *(path.encode() + body for _, path, body in hub.requests)])
    secrets = [
        str(pictures),
        str(tmp_path),
        str(run),
        "jane",
        ".png",
        "checkpoint",
        "held-out.json",
        "images.json",
        Hub.TOKEN,
    ]
    assert [text for text in secrets if text.encode() in everything] == []


def test_a_private_repository_is_made_private_and_read_with_a_token(hub, trained):
    save_to_hub(trained, NAME, private=True, token=Hub.TOKEN)
    assert hub.repositories[NAME].private
    assert load(token=Hub.TOKEN).classes == ["blue", "green", "red"]


def test_a_private_repository_is_not_told_to_strangers(hub, trained):
    save_to_hub(trained, NAME, private=True, token=Hub.TOKEN)
    refused(load, f"{NAME} is not on the hub, or it is private and nobody is logged in who may read it: run `hf auth")


def test_what_is_to_be_private_does_not_go_where_everyone_reads(shared, trained):
    commits = shared.repositories[NAME].commits
    refused(lambda: save_to_hub(trained, NAME, private=True, token=Hub.TOKEN), "everyone can read it. Make it private")
    assert shared.repositories[NAME].commits == commits


def test_another_model_is_not_written_over(shared, trained):
    files = shared.repositories[NAME].files
    files.pop("config.yaml")
    refused(lambda: save_to_hub(trained, NAME, token=Hub.TOKEN), "holds something else than a run of backmix")


def test_sharing_again_leaves_nothing_of_the_run_before(shared, trained):
    files = shared.repositories[NAME].files
    save_to_hub(trained, NAME, token=Hub.TOKEN, training_outputs=True)
    assert "training.safetensors" in files and load().training_outputs is not None
    files["README.md"], files["LICENSE"] = b"written by hand", b"mine"
    save_to_hub(trained, NAME, token=Hub.TOKEN, card=False)
    assert "training.safetensors" not in files and files["README.md"] == b"written by hand"
    save_to_hub(trained, NAME, token=Hub.TOKEN, license="cc-by-4.0")
    assert b"license: cc-by-4.0" in files["README.md"] and files["LICENSE"] == b"mine"
    assert load().training_outputs is None


def test_a_classifier_is_shared_without_a_run(hub):
    classifier = OpenSetClassifier(["a", "b"], model="compact-s")
    save_to_hub(classifier, NAME, token=Hub.TOKEN)
    assert load().classes == ["a", "b"]
    assert b"It has no threshold yet" in hub.repositories[NAME].files["README.md"]


@pytest.mark.parametrize("token", [None, "hf_wrong"])
def test_who_may_not_write_is_told_what_to_do(hub, trained, token):
    refused(
        lambda: save_to_hub(trained, NAME, token=token), "nobody is logged in who may write it: run `hf auth login`"
    )
    assert hub.repositories == {}


def test_nothing_is_sent_where_the_network_is_forbidden(hub, trained, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(lambda: save_to_hub(trained, NAME, token=Hub.TOKEN), "HF_HUB_OFFLINE is set, so .* Unset it")
    assert hub.requests == []


def test_a_hub_that_is_broken_or_not_there(hub):
    hub.status = 503
    refused(load, rf"the hub refused {NAME} \(503\)")
    hub.shutdown()
    hub.server_close()
    refused(load, f"^{NAME} cannot be reached on the hub: .*Look at the network, or give a folder")
    refused(lambda: load(NAME), f"there is no folder '{NAME}' here, and {NAME} cannot be reached")


def test_a_repository_that_is_not_there(hub, monkeypatch):
    refused(load, f"^{NAME} is not on the hub, or it is private")
    refused(lambda: load(NAME), f"^there is no folder '{NAME}' here, and {NAME} is not on the hub")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(load, "is not in the cache of the hub, and HF_HUB_OFFLINE forbids to fetch it")


def test_a_revision_can_be_named(shared, trained):
    repository = shared.repositories[NAME]
    assert load(revision=repository.sha).classes == ["blue", "green", "red"]
    refused(lambda: load(revision="v2"), "has no such revision")
    refused(lambda: load(trained, revision="v2"), "revision 'v2' belongs to a repository of the hub")


def test_what_is_no_run_is_not_fetched(shared):
    files = shared.repositories[NAME].files
    del files["config.yaml"], files["classes.json"]
    refused(load, "is not a run of backmix: it has no config.yaml, classes.json")
    assert shared.fetched == set()


class Trap:
    def __reduce__(self):
        return (open, ("trace", "w"))


def test_pickles_and_names_that_lead_elsewhere_are_left_where_they_are(shared, tmp_path):
    files = shared.repositories[NAME].files
    bad = ("pytorch_model.bin", "checkpoint.pt", "../config.yaml", "x/../../classes.json", "sub/model.safetensors")
    files |= dict.fromkeys(bad, pickle.dumps(Trap()))
    before = set(tmp_path.rglob("*"))
    load().predict([PICTURE])
    assert shared.fetched == set(NEEDED) and not (tmp_path / "trace").exists()
    made = {path for path in set(tmp_path.rglob("*")) - before if path.is_file() and path.suffix != ".lock"}
    assert all(path.is_relative_to(tmp_path / "cache") for path in made)
    assert {path.name for path in made if "snapshots" in path.parts} == set(NEEDED)


@pytest.mark.parametrize(
    ("file", "size"), [("config.yaml", 2**21), ("classes.json", 2**24), ("model.safetensors", 2**40)]
)
def test_what_is_too_large_is_not_fetched(shared, file, size):
    shared.sizes[file] = size
    refused(load, f"{file} of {NAME} on the hub has {size} bytes, more than a run does")
    assert shared.fetched == set()


@pytest.mark.parametrize("file", [name for name in NEEDED if name != "config.yaml"])
def test_an_altered_file_is_named(shared, file):
    content = bytearray(shared.repositories[NAME].files[file])
    content[len(content) // 2] ^= 1
    shared.repositories[NAME].files[file] = bytes(content)
    said = refused(load, rf"^{NAME} on the hub cannot be used: .*{file} is not the file this run was saved with")
    assert "to fetch it again" in said


def test_a_run_of_another_format_says_which(shared):
    files = shared.repositories[NAME].files
    config = yaml.safe_load(files["config.yaml"])
    files["config.yaml"] = yaml.safe_dump({**config, "format": 9, "backmix": "9.9.9"}).encode()
    refused(load, "cannot be used: .*written in run format 9 by backmix 9.9.9")


@pytest.mark.parametrize("model", ["hf-hub:mallory/net", "local-dir:/etc"])
def test_a_network_that_lies_elsewhere_is_not_asked_for(shared, model):
    from backmix.runs.folder import _digest

    files = shared.repositories[NAME].files
    config = yaml.safe_load(files["config.yaml"])
    fingerprints = config.pop("files")
    config["model"] = model
    config["files"] = fingerprints | {"config.yaml": _digest(config)}
    files["config.yaml"] = yaml.safe_dump(config).encode()
    refused(load, f"its network '{model}' lies in another place, which is not asked")
    assert not any("mallory" in path for _, path, _ in shared.requests)


def test_a_cache_laid_out_by_the_hub_is_enough(trained, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("opened a connection"))
    commit = "0123456789" * 4
    root = tmp_path / "models--alice--colours"
    shutil.copytree(trained, root / "snapshots" / commit)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    assert load().classes == load(revision=commit).classes == ["blue", "green", "red"]
    assert run_folder("hub:" + NAME) == root / "snapshots" / commit
    (root / "snapshots" / commit / "calibration.json").write_text(json.dumps({"detector": "msp"}))
    refused(load, "calibration.json is not the file this run was saved with")


def test_what_exists_is_a_path_and_a_mistyped_path_is_no_request(trained, monkeypatch, tmp_path):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("opened a connection"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "runs" / "colours")
    assert load("runs/colours").classes == ["blue", "green", "red"]
    for mistyped in ("runs/colors", "./alice/colours", "/alice/colours", "alice", tmp_path / "alice" / "colours"):
        with pytest.raises(RunError, match="is not a folder"):
            load(mistyped)


def test_what_names_a_repository(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert (
        hub_id("alice/colours")
        == hub_id("hub:alice/colours")
        == hub_id(tmp_path.__class__("hub:alice/colours"))
        == NAME
    )
    assert hub_id(tmp_path.__class__("alice/colours")) is None
    (tmp_path / "alice").mkdir()
    assert hub_id("alice/colours") is None and hub_id("hub:alice/colours") == NAME
    for text in ("a/b/c", "../b", "a/", "/b", "~/b", "a b/c", "a\\b", "https://x/y", "ä/b", "", "a/b\n"):
        assert hub_id(text) is None


@pytest.mark.parametrize(
    "name", ["", "colours", "../x", "a/../b", "a/b/c", "a--b/c", "a/b\nc", "hub:a/b", "a/" + "b" * 99]
)
def test_what_is_no_repository(name, trained):
    for call in (lambda: load("hub:" + name), lambda: save_to_hub(trained, name)):
        with pytest.raises(RunError, match="is no repository of the hub; expected owner/name") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_shared_run_is_evaluated_by_its_name(shared, pictures, trained, capsys):
    from pathlib import Path

    from backmix.cli.evaluate_command import evaluate_command

    ours = evaluate_command(trained, str(pictures))
    theirs = evaluate_command(Path("hub:" + NAME), str(pictures))
    assert theirs["accuracy"] == ours["accuracy"] and theirs["run"]["backmix"] == ours["run"]["backmix"]
    assert theirs["detectors"]["max_logit"] == ours["detectors"]["max_logit"]


def test_a_shared_run_predicts_by_its_name(shared, pictures, trained, tmp_path, capsys):
    from typer.testing import CliRunner

    from backmix.cli import app

    answers = []
    for number, run in enumerate((trained, "hub:" + NAME)):
        out = tmp_path / f"{number}.csv"
        CliRunner().invoke(
            app, ["predict", str(run), str(pictures / "test"), "--out", str(out)], catch_exceptions=False
        )
        answers.append(out.read_text())
    assert answers[0] == answers[1] and answers[0].count("\n") == 25
