"""`backmix predict` as a process that is stopped and killed: no row is missing afterwards, and none is double."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from interruptible import interruptible
from PIL import Image

import backmix

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """300 pictures in three folders; one in twenty cannot be read."""
    folder = tmp_path_factory.mktemp("photos")
    values = np.random.default_rng(0).integers(0, 256, (300, 3))
    for number, value in enumerate(values):
        path = folder / f"{number % 3}" / f"{number:03d}.bmp"
        path.parent.mkdir(exist_ok=True)
        if number % 20 == 7:
            path.write_bytes(b"no image")
        else:
            Image.new("RGB", (16, 16), tuple(map(int, value))).save(path)
    return folder


@pytest.fixture
def start(tmp_path):
    """Start the command on a model that takes 20 ms for 8 images; give `stdout` to read from it."""
    (tmp_path / "model").write_bytes(b"any")

    def call(*arguments, seconds=0.02, **options):
        environment = {
            **os.environ,
            "PYTHONPATH": f"{Path(backmix.__file__).parents[1]}{os.pathsep}{TESTS}",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "predict_colours", seconds, tmp_path / "model", *arguments, "--batch-size", 8]
        before = {} if sys.platform == "win32" else {"preexec_fn": interruptible}
        pipes = {**before, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(list(map(str, command)), env=environment, cwd=tmp_path, **pipes)

    return call


def finish(process):
    said, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return said.decode()


def wait_for(path, size, process, seconds=60, measure=lambda path: path.stat().st_size):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if path.exists() and measure(path) >= size:
            return
        time.sleep(0.002)
    pytest.fail(f"{path} did not reach {size}: {process.communicate()}")


def paths_of(out):
    if out.suffix == ".json":
        return [row["path"] for row in json.loads(out.read_text())]
    if out.suffix == ".parquet":
        return pytest.importorskip("pyarrow.parquet").read_table(out).column("path").to_pylist()
    if out.suffix == ".csv":
        return [line.split(",")[0] for line in out.read_text().splitlines()[1:]]
    return [json.loads(line)["path"] for line in out.read_text().splitlines()]


def all_paths(photos):
    return sorted(map(str, photos.rglob("*.bmp")))


@pytest.mark.parametrize(("kind", "kills"), [("csv", 3), ("json", 1), ("parquet", 1)])
def test_killed_it_ends_as_if_never(start, photos, tmp_path, kind, kills):
    out = tmp_path / f"answers.{kind}"
    grows = Path(f"{out}.part") if kind == "parquet" else out
    chance = random.Random(kind)
    for part in range(1, kills + 1):
        process = start(photos, "--out", out, "--resume")
        wait_for(grows, part * 5_000 + chance.randrange(4_000), process)
        time.sleep(chance.random() * 0.05)
        process.kill()
        process.communicate()
        assert Path(f"{out}.progress").exists()
    said = finish(start(photos, "--out", out, "--resume", seconds=0))
    assert "285 images answered" in said and "15 unreadable" in said
    assert paths_of(out) == all_paths(photos)
    assert {path.name for path in tmp_path.iterdir()} == {out.name, "model"}


def test_killed_while_sorting_no_copy_is_double(start, photos, tmp_path):
    into, chance = tmp_path / "sorted", random.Random(3)
    for part in (1, 2):
        process = start(photos, "--sort-into", into, "--resume")
        wait_for(into / "answers.csv", part * 6_000 + chance.randrange(3_000), process)
        process.kill()
        process.communicate()
    finish(start(photos, "--sort-into", into, "--resume", seconds=0))
    copies = [path for path in into.rglob("*.bmp")]
    assert len(copies) == 285 and {path.name for path in copies} < {Path(path).name for path in all_paths(photos)}
    for path in copies:
        (source,) = photos.rglob(path.name)
        assert path.read_bytes() == source.read_bytes()
    assert paths_of(into / "answers.csv") == all_paths(photos)


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, "json"), (signal.SIGTERM, "parquet")])
def test_a_stop_leaves_a_valid_file_and_says_how_to_go_on(start, photos, tmp_path, number, kind):
    out = tmp_path / f"answers.{kind}"
    grows = Path(f"{out}.part") if kind == "parquet" else out
    process = start(photos, "--out", out)
    # Rows, not bytes: how long a row is depends on the path. A line before the first row may be no row itself.
    wait_for(grows, 22, process, measure=lambda path: path.read_bytes().count(b"\n"))
    process.send_signal(number)
    said, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number and error == b""
    said = b" ".join(said.split())  # Where lines are broken depends on the length of the path.
    assert said.startswith(b"stopped: ") and b"Go on with the same command and --resume" in said
    first = paths_of(out)
    assert 20 < len(first) < 300 and first == all_paths(photos)[: len(first)]
    said = finish(start(photos, "--out", out, "--resume", seconds=0))
    assert f"{len(first)} of all these before" in said and paths_of(out) == all_paths(photos)


def test_a_second_one_on_the_same_file_is_refused(start, photos, tmp_path):
    out = tmp_path / "answers.csv"
    process = start(photos, "--out", out, seconds=1)
    wait_for(out, 500, process)
    for options in (["--resume"], ["--overwrite"], []):
        other = start(photos, "--out", out, *options)
        _, error = other.communicate(timeout=60)
        assert other.returncode == 1 and b"another backmix predict is writing" in error
    process.kill()
    process.communicate()


def test_head_ends_it_without_a_word(start, photos):
    process = start(photos, "--format", "csv")
    assert process.stdout.readline() == b"path,label,unknown_score,p_value,top,error\r\n"
    process.stdout.close()
    error = process.stderr.read()
    assert process.wait(60) == 128 + signal.SIGPIPE and error == b""


def test_a_list_from_find_and_a_bar_of_unknown_length(start, photos, tmp_path):
    names = b"\0".join(map(os.fsencode, all_paths(photos)))
    process = start("-", "--out", "answers.jsonl", seconds=0, stdin=subprocess.PIPE)
    said, _ = process.communicate(names, timeout=60)
    assert process.returncode == 0 and b"285 images answered" in said
    assert paths_of(tmp_path / "answers.jsonl") == all_paths(photos)


@pytest.fixture(scope="module")
def twenty_thousand(tmp_path_factory):
    """A run that was not trained, and 20,000 JPEG files of 200 made pictures; one in a hundred is cut off."""
    import io

    from backmix.classifier import OpenSetClassifier

    folder = tmp_path_factory.mktemp("many")
    OpenSetClassifier(["a", "b", "c"], model="compact-s", image_size=32).save(folder / "run")
    random_values = np.random.default_rng(0)
    contents = []
    for number in range(200):
        width, height = random_values.integers(64, 161, 2)
        pixels = random_values.normal(random_values.integers(0, 256, 3), 30, (height, width, 3)).clip(0, 255)
        file = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=70)
        contents.append(file.getvalue()[: 200 if number % 100 == 50 else None])
    for number in range(20_000):
        path = folder / "photos" / f"{number % 40:02d}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[number % 200])
    return folder


def command_line(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(backmix.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "backmix.cli", "predict", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_thousand_killed_three_times(twenty_thousand, tmp_path):
    photos, out, chance = twenty_thousand / "photos", tmp_path / "answers.csv", random.Random(0)
    for part in range(3):
        process = command_line(twenty_thousand / "run", photos, "--out", out, "--resume")
        wait_for(out, 300_000 * part + chance.randrange(1, 300_000), process, seconds=600)
        process.kill()
        process.communicate()
    process = command_line(twenty_thousand / "run", photos, "--out", out, "--resume")
    said, error = process.communicate(timeout=1200)
    assert process.returncode == 0, error
    assert b"19800 images answered" in said and b"200 unreadable" in said and b"of all these before" in said
    assert paths_of(out) == sorted(map(str, photos.rglob("*.jpg")))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
@pytest.mark.timeout(1800)
def test_memory_does_not_grow_with_the_number_of_images(twenty_thousand, tmp_path):
    peaks = []
    folders = sorted((twenty_thousand / "photos").iterdir())
    for given in (folders[:4], folders):
        process = command_line(twenty_thousand / "run", *given, "--out", tmp_path / f"{len(given)}.jsonl")
        peak = 0
        while process.poll() is None:
            # Its own memory: what it has mapped of the libraries jumps by 90 MiB when it ends, some times or others.
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])
            time.sleep(0.005)
        assert process.returncode == 0, process.stderr.read()
        peaks.append(peak / 1024)
    print(f"peak memory: {peaks[0]:.0f} MiB for 2,000 images, {peaks[1]:.0f} MiB for 20,000")
    assert peaks[1] < peaks[0] + 40
