"""A command under strace: whom it and its children spoke to, where they listened, and what they executed."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import backmix

SPEAKING = ("connect", "sendto", "sendmsg", "sendmmsg", "bind")
# With io_uring a program can connect without a system call that strace shows; so nothing may set it up.
CALLS = (*SPEAKING, "socket", "execve", "execveat", "io_uring_setup")
# --seccomp-bpf: only these calls stop the program, where the system can do that.
# -s 0: of what is sent nothing is shown, so that no content can look like an address.
STRACE = (
    *("strace", "-f", "--seccomp-bpf", "-qq", "-s", "0"),
    *("-e", "signal=none", "-e", f"trace={','.join(CALLS)}", "-o"),
)

_CALL = re.compile(r"\d+ +(\w+)\((.*)")
_ADDRESS = re.compile(r"\{sa_family=AF_(\w+)(.*?)\}")
_PORT = re.compile(r"_port=htons\((\d+)\)")
_HOST = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
_PATH = re.compile(r'sun_path=(@?)"([^"]*)"')
_PROGRAM = re.compile(r'(?:-?\w+, )?"([^"]*)"')


@cache
def why_not() -> str | None:
    """Why no command can be traced here; None: it can be."""
    if not sys.platform.startswith("linux"):
        return "strace is a program of Linux"
    if shutil.which("strace") is None:
        return "strace is not on PATH"
    with tempfile.TemporaryDirectory() as folder:
        said = subprocess.run(
            [*STRACE, f"{folder}/calls", sys.executable, "-c", ""], capture_output=True, text=True, timeout=60
        )
        shown = Path(folder, "calls")
        if said.returncode or not shown.exists() or "execve" not in shown.read_text():
            return f"strace may not trace here: {said.stderr.strip()[:200]}"
    return None


@dataclass
class Seen:
    """What a command did.

    Attributes:
        status: Its exit status.
        said: What it printed, on both streams.
        spoken_to: Addresses of `connect` and of what was sent, as "HOST:PORT", "unix:PATH" or "netlink".
        bound: Addresses that were bound, in the same form.
        programs: Names of the programs executed, also of those that were looked for in vain.
        odd: System calls that are none of these, such as sockets of other families.
    """

    status: int = 0
    said: str = ""
    spoken_to: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    programs: set[str] = field(default_factory=set)
    odd: set[str] = field(default_factory=set)

    def read(self, lines: str) -> Seen:
        """Add what strace wrote."""
        for line in lines.splitlines():
            found = _CALL.match(line)
            if not found:  # The end of a call that another process interrupted; its arguments stood at its beginning.
                continue
            call, arguments = found.groups()
            if call in ("execve", "execveat"):
                self.programs.add(_PROGRAM.match(arguments)[1].rpartition("/")[2])
            elif call == "socket":
                family = arguments.partition(",")[0]
                raw = "SOCK_RAW" in arguments and family != "AF_NETLINK"
                if raw or family not in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"):
                    self.odd.add(f"socket({arguments}")
            elif call == "io_uring_setup":
                self.odd.add(call)
            else:
                (self.bound if call == "bind" else self.spoken_to).update(_addresses(arguments))
        return self


def _addresses(arguments: str) -> set[str]:
    found = set()
    for family, rest in _ADDRESS.findall(arguments):
        port, host, path = _PORT.search(rest), _HOST.search(rest), _PATH.search(rest)
        if family == "UNIX":
            found.add("unix:" + ("" if path is None else path[1] + path[2]))
        elif family == "NETLINK":
            found.add("netlink")
        elif family != "UNSPEC":  # Which takes an address back.
            found.add(f"{host[1] or host[2]}:{port[1]}" if host and port else f"{family}{rest}")
    return found


def not_local(addresses: set[str], *folders: Path) -> set[str]:
    """Those through which something could leave this machine: names of hosts are asked for on port 53, wherever it is.

    Daemons that find names of hosts listen on sockets of files too, so of these only the folders of the command are
    let through, and that of nscd, which the C library tries for names of users.
    """
    return {address for address in addresses if not _is_local(address, folders)}


def _is_local(address: str, folders: tuple[Path, ...]) -> bool:
    kind, _, path = address.partition(":")
    if address == "netlink":
        return True
    if kind == "unix":
        return path in ("", "/var/run/nscd/socket") or any(path.startswith(f"{folder}/") for folder in folders)
    host, _, port = address.rpartition(":")
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    number = getattr(number, "ipv4_mapped", None) or number
    return number.is_loopback and port != "53"


def environment(folder: Path, **more: str) -> dict[str, str]:
    """An environment of a user who has a token of the hub, with folders of its own; no proxy, and nothing forbidden."""
    for name in ("home", "temporary", "hub", "cache"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(Path(backmix.__file__).parents[1]),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "temporary"),
        "HF_HOME": str(folder / "hub"),
        "HF_TOKEN": "hf_of_the_tests",
        "BACKMIX_CACHE": str(folder / "cache"),
        **more,
    }


def trace(folder: Path, *command: object, module: str = "backmix", timeout: float = 170) -> Seen:
    """Run `python -m MODULE COMMAND` in `folder` and wait for its end.

    Args:
        folder: Working folder; home, temporary files and caches lie in it.
        command: Words of the command.
        module: What Python runs.
        timeout: Seconds after which it is killed, with all its children.
    """
    with tempfile.TemporaryDirectory() as place:
        calls = Path(place, "calls")
        process = start(folder, calls, *command, module=module)
        try:
            said = process.communicate(timeout=timeout)[0]
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return Seen(process.returncode, said).read(calls.read_text())


def attempt(folder: Path, *command: object, timeout: float = 120) -> Seen:
    """Run a command until it speaks to another machine, or to its end, and kill it then."""
    with tempfile.TemporaryDirectory() as place:
        calls = Path(place, "calls")
        process = start(folder, calls, *command)
        try:
            until = time.monotonic() + timeout
            while process.poll() is None and time.monotonic() < until:
                if calls.exists() and not_local(Seen().read(calls.read_text()).spoken_to, folder):
                    break
                time.sleep(0.2)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            said = process.communicate()[0]
        return Seen(process.returncode, said).read(calls.read_text())


def start(folder: Path, calls: Path, *command: object, module: str = "backmix") -> subprocess.Popen[str]:
    """Start `python -m MODULE COMMAND` under strace, which writes to `calls`, in a group of processes of its own."""
    return subprocess.Popen(
        [*STRACE, str(calls), sys.executable, "-m", module, *map(str, command)],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
