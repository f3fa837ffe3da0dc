"""`backmix share`: what it writes and says."""

import shutil
import sys

import pytest
import yaml
from hub_server import Hub
from huggingface_hub import constants

from backmix import cli
from backmix.cli.share_command import share_command
from backmix.errors import RunError
from backmix.runs.folder import load_run

FILES = {"model.safetensors", "classes.json", "calibration.json", "config.yaml", "README.md"}


@pytest.fixture
def run_cli(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["backmix", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture
def hub(monkeypatch):
    server = Hub()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", Hub.TOKEN)
    yield server
    server.shutdown()
    server.server_close()


def test_a_dry_run_writes_what_would_be_sent_and_sends_nothing(hub, trained, tmp_path, run_cli):
    status, said, _ = run_cli("share", trained, "alice/colours", "--dry-run", tmp_path / "out", "--license", "mit")
    assert status == 0 and hub.requests == []
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert load_run(tmp_path / "out").classes == ["blue", "green", "red"]
    assert "left out of config.yaml: arguments.data" in said and "nothing was sent" in said and "license" not in said
    status, said, _ = run_cli("share", trained, "alice/colours", "--license", "mit")
    assert status == 0 and f"shared as {hub.address}/alice/colours" in said
    sent = hub.repositories["alice/colours"].files
    assert set(sent) == FILES | {".gitattributes"}
    assert all(sent[name] == (tmp_path / "out" / name).read_bytes() for name in FILES)


def test_options_arrive(hub, trained, run_cli):
    options = ("--private", "--no-card", "--training-outputs")
    status, said, _ = run_cli("share", trained, "alice/colours", *options)
    assert status == 0 and "training.safetensors holds features of training images" in said
    repository = hub.repositories["alice/colours"]
    assert repository.private and set(repository.files) == FILES - {"README.md"} | {
        "training.safetensors",
        ".gitattributes",
    }


def test_without_a_license_the_card_and_the_command_say_so(trained, tmp_path, capsys):
    copy = share_command(trained, "alice/colours", dry_run=tmp_path / "out")
    assert set(copy.files) == FILES and "The card names no license yet" in capsys.readouterr().out
    assert "license" not in yaml.safe_load((copy.folder / "README.md").read_text().split("---\n")[1])


@pytest.mark.parametrize(
    ("repository", "options", "message"),
    [
        ("colours", (), "'colours' is no repository of the hub; expected owner/name"),
        ("alice/colours", ("--license", "My Own"), "a licence is named as the hub does"),
        ("alice/colours", ("--evaluation", "nowhere.json"), "cannot be read as figures of `backmix evaluate --json`"),
    ],
)
def test_what_is_wrong_is_one_line(trained, tmp_path, run_cli, repository, options, message):
    status, _, said = run_cli("share", trained, repository, "--dry-run", tmp_path / "out", *options)
    assert status == 1 and message in said and said.startswith("backmix: ") and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_or_not_finished(trained, tmp_path):
    with pytest.raises(RunError, match="is not a folder"):
        share_command(tmp_path / "nowhere", "alice/colours", dry_run=tmp_path / "out")
    run = shutil.copytree(trained, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["files"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(RunError, match="did not finish"):
        share_command(run, "alice/colours", dry_run=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_behind(hub, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    share_command(trained, "alice/colours")
    assert list(tmp_path.iterdir()) == []
