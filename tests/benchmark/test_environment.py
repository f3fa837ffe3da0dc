"""What a result was made with."""

import getpass
import json
import platform
import socket

import torch

import backmix.version
from backmix.benchmark.environment import code_fingerprint, describe_environment


def test_environment_is_json_and_names_the_code():
    found = describe_environment("cpu", "fp32")
    assert json.loads(json.dumps(found)) == found
    assert found["version"] == f"{backmix.__version__}+{code_fingerprint()}"
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert found["python"] == platform.python_version()
    assert found["device"].startswith("cpu: ") and found["threads"] == torch.get_num_threads()


def test_environment_names_neither_machine_nor_person():
    text = json.dumps(describe_environment("cpu", "fp32"))
    for secret in (socket.gethostname(), getpass.getuser()):
        assert len(secret) < 4 or secret not in text


def test_fingerprint_follows_the_code(tmp_path, monkeypatch):
    (tmp_path / "__init__.py").write_text("a = 1\n")
    monkeypatch.setattr(backmix.version, "__file__", str(tmp_path / "__init__.py"))
    code_fingerprint.cache_clear()
    try:
        before = code_fingerprint()
        (tmp_path / "notes.txt").write_text("no code")
        code_fingerprint.cache_clear()
        assert code_fingerprint() == before
        (tmp_path / "more.py").write_text("b = 2\n")
        code_fingerprint.cache_clear()
        assert code_fingerprint() != before and len(before) == 10
    finally:
        monkeypatch.undo()
        code_fingerprint.cache_clear()
