"""The command line as people meet it: all three commands, and one clear line for everything that is wrong."""

import csv
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import yaml
from interruptible import interruptible
from PIL import Image

import backmix
from backmix import cli
from backmix.detectors import OURS


@pytest.fixture
def run_cli(monkeypatch, capsys):
    """Call the command line in this process; gives exit status, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["backmix", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture
def fails(run_cli):
    """Call the command line and expect exit status 1 and one line on stderr; gives the line."""

    def call(*arguments):
        status, _, said = run_cli(*arguments)
        assert status == 1, said
        assert said.startswith("backmix: ") and said.count("\n") == 1 and said.endswith("\n"), said
        assert "Traceback" not in said
        return said

    return call


def picture(path, colour="red", size=(40, 40)):
    """A coloured picture with blots that depend on its name, so that no two are copies of one another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, colour)
    random = Random(path.name)
    for _ in range(12):
        x, y = random.randrange(size[0]), random.randrange(size[1])
        image.paste(random.choice(["white", "black", "grey"]), (x, y, x + size[0] // 5, y + size[1] // 5))
    image.save(path)


def folder(root, classes, count=6):
    for name in classes:
        for number in range(count):
            picture(root / name / f"{number}.png", ("red", "blue", "green")[len(name) % 3])
    return root


FIT = ("--model", "compact-s", "--epochs", 1, "--batch-size", 8, "--lr", 0.05)


def in_subprocess(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(Path(backmix.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=60, **options
    )


def test_help_is_quick_and_imports_nothing_heavy():
    code = """
import sys
sys.argv = ["backmix", "--help"]
from backmix import cli
try:
    cli.main()
except SystemExit:
    pass
heavy = {"torch", "torchvision", "timm", "accelerate", "numpy", "PIL", "sklearn", "datasets", "matplotlib"}
print("heavy:", sorted(heavy & sys.modules.keys()))
"""
    done = in_subprocess("-c", code)
    assert done.returncode == 0 and "heavy: []" in done.stdout, done.stdout + done.stderr
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        done = in_subprocess("-m", "backmix.cli", "--help")
        times.append(time.perf_counter() - begin)
    print(f"backmix --help took {min(times):.2f} s")
    assert done.returncode == 0 and all(name in done.stdout for name in ("demo", "fit", "evaluate", "predict"))
    assert min(times) < 0.9


@pytest.mark.parametrize("command", ["demo", "fit", "evaluate", "predict"])
def test_every_command_explains_itself(run_cli, command):
    status, said, _ = run_cli(command, "--help")
    assert status == 0 and "Usage" in said


def test_digits_from_training_to_figures(run_cli, tmp_path):
    run, file = tmp_path / "run", tmp_path / "figures.json"
    status, said, error = run_cli(
        *("fit", "digits", "--known-classes", "0,1", "--out", run, "--augmentation", "backmix", "--patch-side", 0.3),
        *("--label-smoothing", 0.1, "--detector", "energy", "--accept", 0.9, "--seed", 2, *FIT),
    )
    assert (status, error) == (0, "") and "of 2 known classes" in said
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["arguments"]["data"] == "digits" and config["method_options"] == {"label_smoothing": 0.1}
    assert json.loads((run / "calibration.json").read_text())["accept"] == 0.9
    status, said, error = run_cli("evaluate", run, "digits", "--split", "val", "--json", file)
    assert (status, error) == (0, "") and "energy*" in said
    figures = json.loads(file.read_text())
    assert 0 <= figures["accuracy"] <= 1 and figures["images"]["unknown"] > figures["images"]["known"] > 0
    for name in OURS:
        for key in ("auroc", "oscr", "fpr95", "aupr_in", "aupr_out"):
            assert 0 <= figures["detectors"][name][key] <= 1
        assert figures["detectors"][name]["oscr"] <= figures["accuracy"]


def test_a_folder_from_training_to_answers(run_cli, tmp_path):
    data = folder(tmp_path / "data", ["a", "bb", "ccc"], 8)
    run, out = tmp_path / "run", tmp_path / "answers.csv"
    assert run_cli("fit", data, "--known-classes", "a,bb", "--out", run, *FIT)[0] == 0
    (data / "a" / "broken.png").write_text("no image")
    status, said, error = run_cli("predict", run, data, tmp_path / "missing.jpg", "--out", out, "--top", 1)
    assert (status, error) == (0, "")
    assert "24 images answered" in said and "2 unreadable" in said and str(out) in said
    rows = list(csv.DictReader(out.open(newline="")))
    assert len(rows) == 26 and {row["label"] for row in rows} <= {"a", "bb", "unknown", ""}
    assert all(row["top"].count(":") == 1 for row in rows if not row["error"])
    status, said, _ = run_cli("evaluate", run, data)
    assert status == 0 and "16 known images, 8 unknown (ccc)" in said and "broken.png" in said


def bad_data(tmp_path):
    """Data that nobody can train on -> what is said."""
    empty = tmp_path / "empty"
    empty.mkdir()
    one = folder(tmp_path / "one", ["cat"])
    case = folder(tmp_path / "case", ["Cat", "cat", "dog"])
    (tmp_path / "hollow" / "cat").mkdir(parents=True)
    (tmp_path / "hollow" / "dog").mkdir()
    flat = tmp_path / "flat"
    picture(flat / "1.png")
    broken = folder(tmp_path / "broken", ["cat", "dog"])
    for path in broken.rglob("*.png"):
        path.write_bytes(b"\x89PNG")
    half = folder(tmp_path / "half", ["cat", "dog"])
    for path in (half / "cat").iterdir():
        path.unlink()
        path.symlink_to(tmp_path / "nowhere.png")
    few = folder(tmp_path / "few", ["cat", "dog"], 1)
    picture(tmp_path / "single.png")
    return {
        empty: "is empty",
        one: "one class only ('cat')",
        case: "differ only in case",
        tmp_path / "hollow": "no images in them",
        flat: "no class folders",
        broken: "none of the 12 images can be read",
        half: "no readable training image is left of cat",
        few: "every known class needs at least two images",
        tmp_path / "single.png": "one image",
        tmp_path / "missing": "missing",
        "digits:prior=2": "prior",
        "digits:colour=red": "colour",
        "": "no data is named",
    }


def test_data_that_nobody_can_train_on(fails, tmp_path):
    for number, (data, message) in enumerate(bad_data(tmp_path).items()):
        said = fails("fit", data, "--out", tmp_path / f"run{number}", *FIT)
        assert message in said, (data, said)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--known-classes", "a,bird"], "there is no class 'bird'"),
        (["--known-classes", "a,A"], "there is no class 'A'; did you mean 'a'?"),
        (["--known-classes", "a"], "at least two"),
        (["--known-classes", "a,a"], "chosen twice"),
        (["--known-classes", ","], "there is no class ''"),
        (["--known-classes", "a,7"], "there is no class number 7"),
        (["--model", "compakt"], "compakt"),
        (["--model", "compact", "--pretrained"], "no published weights"),
        (["--method", "aprl"], "no method 'aprl'; there are softmax"),
        (["--method-option", "smooth=1"], "method softmax has no option smooth"),
        (["--augmentation", "cowmix"], "no augmentation 'cowmix'; there are none, backmix"),
        (["--augmentation-option", "patch_side=1"], "augmentation none has no option patch_side"),
        (["--detector", "kmm"], "no detector 'kmm'; there are method, msp, max_logit, energy"),
        (["--accept", "1.5"], "accept is a share of the known images, above 0 and below 1; got 1.5"),
        (["--accept", "0"], "accept is a share"),
        (["--epochs", "0"], "epochs is at least 1; got 0"),
        (["--batch-size", "1"], "batch_size is at least 2; got 1"),
        (["--lr", "-1"], "lr is above 0; got -1.0"),
        (["--lr", "nan"], "lr is above 0; got nan"),
        (["--image-size", "0"], "image_size"),
        (["--image-size", "4"], "image_size"),
        (["--label-smoothing", "1"], "label_smoothing"),
        (["--augmentation", "backmix", "--patch-side", "2"], "patch_side is a share of the image's side"),
    ],
)
def test_options_that_cannot_be(fails, tmp_path, options, message):
    data = folder(tmp_path / "data", ["a", "bb"])
    defaults = [*FIT] if not {"--model", "--epochs", "--batch-size", "--lr"} & {*options} else ["--model", "compact-s"]
    if "--model" in options:
        defaults = []
    said = fails("fit", data, "--out", tmp_path / "run", *defaults, *options)
    assert message in said


@pytest.mark.parametrize("options", [["--method-option", "bias"], ["--precision", "fp8"], ["--epochs", "many"], []])
def test_options_that_cannot_be_read_show_the_usage(run_cli, tmp_path, options):
    status, _, said = run_cli("fit", "digits", *(["--out", tmp_path / "run", *options] if options else []))
    assert status == 2 and "Usage" in said and "Traceback" not in said


def test_out_that_is_taken(fails, trained, tmp_path):
    assert "is not empty. Choose another --out, delete it, or go on with it by --resume" in fails(
        "fit", "digits", "--out", trained, *FIT
    )
    assert "is a file" in fails("fit", "digits", "--out", trained / "config.yaml", *FIT)
    picture(tmp_path / "photos" / "1.png")
    for more in ([], ["--resume"]):
        fails("fit", "digits", "--out", tmp_path / "photos", *FIT, *more)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["1.png"]


def test_resume_with_other_options_says_which(fails, trained, pictures):
    kept = {path: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    said = fails(
        *("fit", pictures, "--out", trained, "--resume", "--known-classes", "red,green,blue", "--model", "compact-s"),
        *("--image-size", 32, "--epochs", 7, "--lr", 0.05, "--augmentation", "backmix", "--precision", "fp32"),
    )
    assert "with other options than it began with: augmentation: 'none' -> 'backmix'; epochs: 6 -> 7." in said
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_resume_of_a_damaged_checkpoint(fails, run_cli, tmp_path):
    data = folder(tmp_path / "data", ["a", "bb"])
    run = tmp_path / "run"
    assert run_cli("fit", data, "--out", run, *FIT)[0] == 0
    (run / "checkpoint.pt").write_bytes((run / "checkpoint.pt").read_bytes()[:-1000])
    assert "checkpoint.pt is not a readable checkpoint" in fails("fit", data, "--out", run, "--resume", *FIT)


def test_a_training_that_diverges(fails, tmp_path):
    data = folder(tmp_path / "data", ["a", "bb"], 24)
    options = ["--model", "compact-s", "--epochs", 3, "--batch-size", 8, "--lr", "1e30"]
    said = fails("fit", data, "--out", tmp_path / "run", *options)
    assert "in epoch 1" in said and "lower learning rate than 1e+30" in said


def test_a_disk_that_is_full(fails, tmp_path, monkeypatch):
    import torch

    data = folder(tmp_path / "data", ["a", "bb"])

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    said = fails("fit", data, "--out", tmp_path / "run", *FIT)
    assert "No space left on device" in said
    assert "Make room on the disk, and run the command again (with --resume" in said
    monkeypatch.undo()


@pytest.fixture
def damaged(trained, tmp_path):
    """Makes copies of the run to be damaged."""

    def copy(name):
        return shutil.copytree(trained, tmp_path / name)

    return copy


def test_a_run_that_is_none(fails, damaged, tmp_path):
    image = tmp_path / "image.png"
    picture(image)
    version, missing, altered, half, code = map(damaged, ("version", "missing", "altered", "half", "code"))
    config = yaml.safe_load((version / "config.yaml").read_text())
    (version / "config.yaml").write_text(yaml.safe_dump({**config, "format": 2}))
    (half / "config.yaml").write_text(yaml.safe_dump({k: v for k, v in config.items() if k != "files"}))
    (missing / "classes.json").unlink()
    (altered / "classes.json").write_text('["green", "blue", "red"]')
    (code / "model.safetensors").write_bytes(pickle.dumps(print))
    expected = {
        version: "format 2",
        half: "did not finish",
        missing: "classes.json is missing",
        altered: "classes.json is not the file",
        code: "model.safetensors is not the file",
        tmp_path / "nowhere": "is not a folder",
        tmp_path: "has no config.yaml",
        image: "is not a folder",
    }
    for run, message in expected.items():
        assert message in fails("predict", run, image)
        assert message in fails("evaluate", run, "digits")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "RUN", "digits", "--split", "dev2"], "no split 'dev2'"),
        (["evaluate", "RUN", "nowhere"], "nowhere"),
        (["evaluate", "RUN", "digits", "--detector", "msp,kmm"], "no detector 'kmm'"),
        (["predict", "RUN", "EMPTY"], "no image in"),
        (["predict", "RUN", "x.png", "--out", "answers.txt"], "--out takes a .csv, .jsonl, .json or .parquet file"),
    ],
)
def test_arguments_of_the_other_commands(fails, trained, tmp_path, arguments, message):
    places = {"RUN": trained, "EMPTY": tmp_path}
    assert message in fails(*(places.get(argument, argument) for argument in arguments))


def test_broken_files_alone_are_rows_and_a_failure(run_cli, trained, tmp_path):
    (tmp_path / "a.png").touch()
    status, said, error = run_cli("predict", trained, tmp_path / "a.png", tmp_path / "b.png")
    assert status == 1 and "none of the images could be read" in error
    assert (
        "empty (0 bytes)" in said and "no such file" in said and "0 images answered" in said and "2 unreadable" in said
    )


def test_evaluate_with_nothing_readable(fails, trained, tmp_path):
    folder(tmp_path / "test", ["red", "blue"], 2)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    assert "no image could be read; 4 were tried. The first: " in fails("evaluate", trained, tmp_path)


def test_control_c_while_a_text_is_executed_has_the_same_status(tmp_path):
    """In CPython 3.11 to 3.13, a KeyboardInterrupt that passed an `exec` ends `python -m` by SIGINT, though handled."""
    (tmp_path / "stopped.py").write_text(
        "from backmix import cli\ncli.make_app = lambda only: lambda: exec('raise KeyboardInterrupt')\ncli.main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(backmix.__file__).parents[1])}
    command = [sys.executable, "-m", "stopped"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "backmix: stopped\n")


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="sends SIGINT")
def test_control_c_stops_without_a_traceback(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(backmix.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "backmix.cli", "fit", "digits", "--out", str(run), "--model", "compact-s"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    end = time.monotonic() + 60
    while not (run / "config.yaml").exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said, said
    assert f"--resume begins again in {run}" in said or f"is kept in {run}; the same command with --resume" in said
