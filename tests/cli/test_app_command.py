"""`backmix app`: what it says before there is a page."""

import socket
import subprocess
import sys

import pytest
from rich.console import Console

from backmix.cli.app_command import AppArguments, app_command, free_port, warn_of_network
from backmix.errors import BackmixError, RunError


def test_without_gradio_it_says_what_to_install(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)  # As it is where nothing of the name is installed.
    with pytest.raises(BackmixError, match=r'not installed: pip install "backmix\[app\]"'):
        app_command(trained, AppArguments())


def test_a_run_that_is_none_is_said_in_one_line(tmp_path):
    pytest.importorskip("gradio")
    with pytest.raises(RunError, match="is not a folder"):
        app_command(tmp_path / "none", AppArguments(port=0))


def test_a_port_that_is_taken_is_said_with_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"127\.0\.0\.1, port {port}: .*Choose another --port"):
            free_port("127.0.0.1", port)
    with pytest.raises(OSError, match="cannot listen on 203\\.0\\.113\\.1"):
        free_port("203.0.113.1", 0)


def test_any_free_port():
    port = free_port("127.0.0.1", 0)
    assert 1024 <= port <= 65535 and free_port("127.0.0.1", port) == port


def test_it_warns_where_others_can_reach_it(capsys):
    for host in ("127.0.0.1", "localhost", "::1"):
        warn_of_network(Console(), host)
    assert capsys.readouterr().out == ""
    for host in ("0.0.0.0", "192.168.0.7", "::"):
        warn_of_network(Console(width=300), host)
        assert f"listens on {host}: anyone" in capsys.readouterr().out


def test_help_needs_neither_torch_nor_gradio():
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'gradio']))\n"
        "sys.argv = ['backmix', 'app', '--help']\n"
        "from backmix.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and "--max-upload" in done.stdout, done.stderr
