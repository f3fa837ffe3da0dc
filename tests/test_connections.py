"""Under strace no command speaks or listens to another machine, unless something of the hub was named."""

import io
import json
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from app_server import Server
from audit_pictures import Made
from conftest import write_pictures
from PIL import Image
from traced import STRACE, Seen, attempt, environment, not_local, trace, why_not

from backmix import cli

pytestmark = pytest.mark.slow

SMALL = ("--model", "compact-s", "--epochs", 1, "--batch-size", 16)
# `ctypes.util.find_library`, for libraries of torch and others, asks ldconfig, and the compiler or the linker where
# that does not know; matplotlib asks fc-list for fonts.
PROGRAMS = {"ldconfig", "gcc", "cc", "ld", "objdump", "fc-list"}
RAY = {"gcs_server", "raylet"}

COMMANDS = {
    "digits": ("fit", "digits", "--out", "digits-run", *SMALL),
    "folder": ("fit", "p32", "--out", "other", *SMALL),
    "resumed": ("fit", "p32", "--out", "colours", "--known-classes", "red,green,blue", *SMALL, "--resume"),
    "weights at hand": ("fit", "p72", "--out", "head", "--train", "head"),
    "no weights wanted": ("fit", "p72", "--out", "anew", "--no-pretrained", *SMALL[2:]),
    "run, csv": ("predict", "colours", "p32/test", "--out", "a.csv"),
    "run, parquet": ("predict", "colours", "p32/test", "--out", "a.parquet"),
    "run of timm": ("predict", "timm-run", "p32/test", "--out", "b.csv"),
    "onnx": ("predict", "colours/model.onnx", "p32/test", "--out", "c.csv"),
    "audit of a run": ("audit", "colours", "p32", "--masks", "centre", "--out", "audit-run"),
    "audit of onnx": ("audit", "colours/model.onnx", "p32", "--masks", "centre", "--out", "audit-onnx"),
    "calibrate": ("calibrate", "copy"),
    "evaluate": ("evaluate", "colours", "p32", "--json", "evaluation.json"),
    "report": ("report", "colours"),
    "torchscript": ("export", "colours", "--format", "torchscript"),
    "study": ("study", "objects", "--parts", "d", "--seeds", "0", "--epochs", 1, "--image-size", 32, "--out", "study"),
    "share": ("share", "colours", "alice/colours", "--dry-run", "shared"),
    "bench": ("bench", "digits", "--trials", "a", "--augmentations", "none", "--epochs", 1, "--out", "grid2"),
    "tables": ("tables", "grid", "--out", "tables"),
    "demo": ("demo", "--seeds", 1, "--epochs", 1, "--out", "demo"),
}
MADE = {
    "fit": ("fit", "p32", "--out", "colours", "--known-classes", "red,green,blue", *SMALL),
    "timm": ("fit", "p32", "--out", "timm-run", "--model", "resnet10t", "--no-pretrained", *SMALL[2:]),
    "export": ("export", "colours"),
    "bench": ("bench", "digits", "--trials", "a", "--augmentations", "none", "--epochs", 1, "--out", "grid"),
}


def assert_alone(seen: Seen, folder: Path, programs: set[str] = PROGRAMS) -> None:
    """Nothing but this machine was spoken to or listened to, and no other program ran."""
    assert not not_local(seen.spoken_to, folder), seen
    assert not not_local(seen.bound, folder), seen
    assert not seen.odd, seen
    assert {name for name in seen.programs if not name.startswith("python")} <= programs, seen


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with pictures of 32 and of 72 pixels, objects with masks, runs, an exported file and a finished grid."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("traced")
    for size in (32, 72):
        write_pictures(folder / f"p{size}" / "train", 12, seed=1, size=size)
        write_pictures(folder / f"p{size}" / "test", 4, seed=2, size=size)
    (folder / "objects").mkdir()
    for split, count in (("train", 12), ("test", 5)):
        _write_objects(folder / "objects" / f"{split}.parquet", Made(count, seed=count))
    for words in MADE.values():
        seen = trace(folder, *words)
        assert seen.status == 0, seen.said
        assert_alone(seen, folder)
    shutil.copytree(folder / "colours", folder / "copy")
    return folder


def _write_objects(path, source):
    def encoded(picture):
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return {"bytes": stream.getvalue(), "path": None}

    rows = range(len(source))
    columns = {
        "image": [encoded(source.read(i)) for i in rows],
        "mask": [encoded(source.read_mask(i)) for i in rows],
        "label": source.labels.tolist(),
    }
    features = {
        "image": {"_type": "Image"},
        "mask": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": source.classes},
    }
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path)


def test_what_strace_writes_is_read():
    lines = """\
11 execve("/usr/bin/git", [""...], 0x7ffe /* 3 vars */) = -1 ENOENT (No such file or directory)
11 socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE) = 3
11 socket(AF_PACKET, SOCK_RAW, htons(0 /* ETH_P_??? */)) = 3
11 connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.7")}, 16 <unfinished ...>
12 <... connect resumed>) = 0
11 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0
11 connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = 0
11 connect(3, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), \
inet_pton(AF_INET6, "::ffff:127.0.0.1", &sin6_addr), sin6_scope_id=0}, 28) = 0
11 connect(3, {sa_family=AF_UNIX, sun_path=@"daemon"}, 110) = 0
11 connect(3, {sa_family=AF_UNIX, sun_path="/here/socket"}, 110) = 0
11 sendto(3, ""..., 20, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 20
11 sendmmsg(3, [{msg_hdr={msg_name={sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("192.0.2.9")}}}], 1) = 1
11 bind(3, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("0.0.0.0")}, 16) = 0"""
    seen = Seen().read(lines)
    spoken = {"192.0.2.7:443", "127.0.0.53:53", "unix:@daemon", "192.0.2.9:1"}
    assert not_local(seen.spoken_to, Path("/here")) == spoken
    assert seen.spoken_to - spoken == {"127.0.0.1:80", "::ffff:127.0.0.1:80", "unix:/here/socket", "netlink"}
    assert not_local(seen.bound, Path("/here")) == {"0.0.0.0:0"}
    assert seen.programs == {"git"} and len(seen.odd) == 1 and "AF_PACKET" in min(seen.odd)


def test_no_command_is_forgotten():
    tried = {words[0] for words in (*COMMANDS.values(), *MADE.values())} | {"app"}
    assert tried == {command.__name__ for command in cli.COMMANDS}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_command_speaks_to_no_other_machine(place, words):
    seen = trace(place, *words)
    assert seen.status == 0, seen.said
    assert_alone(seen, place)


def test_the_app_answers_and_speaks_to_no_other_machine(place, tmp_path):
    calls = tmp_path / "calls"
    server = Server(place / "colours", tmp_path, under=(*STRACE, str(calls)), environment=environment(tmp_path))
    try:
        stream = io.BytesIO()
        Image.new("RGB", (40, 40), (200, 40, 40)).save(stream, "PNG")
        assert server.get("")[0] == 200
        status, uploaded = server.upload("red.png", stream.getvalue())
        assert status == 200 and "process_completed" in server.answer_to(uploaded)
    finally:
        # No signal ends strace; what it runs is the first process that it writes of.
        os.kill(int(calls.read_text().split()[0]), signal.SIGKILL)
        server.process.communicate(timeout=60)
    seen = Seen().read(calls.read_text())
    assert any(address.startswith("127.0.0.1:") for address in seen.bound), seen
    assert_alone(seen, tmp_path)


def test_a_cluster_of_this_machine_speaks_to_no_other_one():
    pytest.importorskip("ray")
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    words = ("bench", "digits", "--trials", "a", "--augmentations", "none", "--epochs", 1, "--out", "grid")
    # The path of a socket has room for 107 bytes, and Ray adds 66.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        seen = trace(folder, *words, "--cluster", "local")
        assert seen.status == 0, seen.said
        assert (folder / "grid" / "results.csv").is_file() and seen.programs >= RAY
        assert_alone(seen, folder, PROGRAMS | RAY)


def test_processes_of_one_training_speak_to_this_machine(place):
    words = ("--nproc-per-node=2", "--master-addr=127.0.0.1", f"--master-port={_free_port()}", "-m", "backmix")
    seen = trace(place, *words, "fit", "p32", "--out", "two", *SMALL, module="torch.distributed.run")
    assert seen.status == 0, seen.said
    # torchrun asks for the name of this machine, which may be a question to the name server, and tries io_uring.
    others = not_local(seen.spoken_to, place)
    assert {address for address in others if not address.endswith(":53") and not _is_own(address)} == set(), seen
    assert seen.odd <= {"io_uring_setup"} and {name for name in seen.programs if "python" not in name} <= PROGRAMS, seen
    assert any(address.startswith(("127.0.0.1:", "::ffff:127.0.0.1:")) for address in seen.spoken_to), seen


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _is_own(address):
    """Only an address of this machine can be bound."""
    host = address.rpartition(":")[0].removeprefix("::ffff:")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind((host, 0))
        except OSError:
            return False
    return True


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "hub:alice/colours", "p32/test"),
        ("fit", "alice/colours", "--out", "named"),
        ("fit", "p72", "--model", "resnet10t", "--image-size", 32, "--out", "asked"),
    ],
    ids=["a run", "data", "weights that are not here"],
)
def test_what_is_named_of_the_hub_is_asked_for(place, words):
    # So that the tests above can fail: the attempt counts, whether there is a network or not.
    seen = attempt(place, *words)
    assert not_local(seen.spoken_to, place), seen
