"""What an installation stands on: the requirements, their pins, and what the repository must not carry."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = list(PROJECT["optional-dependencies"])
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([0-9][A-Za-z0-9.!+_-]*)")


def constraint_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins() -> dict[str, str]:
    matches = [PIN.fullmatch(line) for line in constraint_lines()]
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


def requirements(extras: list[str]) -> list[Requirement]:
    optional = PROJECT["optional-dependencies"]
    return [Requirement(text) for text in PROJECT["dependencies"] + [r for extra in extras for r in optional[extra]]]


def repository_files() -> list[Path]:
    """Files tracked or about to be: all that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout: no list of the repository's files")
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [path for name in names if name and (path := ROOT / name).is_file()]


def test_constraints_are_pins_and_nothing_else() -> None:
    lines = constraint_lines()
    assert [line for line in lines if not PIN.fullmatch(line)] == []
    assert len(pins()) == len(lines), "a package is pinned twice"


def test_every_direct_requirement_has_a_pin_that_satisfies_it() -> None:
    pinned = pins()
    for requirement in [*requirements(EXTRAS), Requirement("setuptools>=77")]:
        if requirement.name != PROJECT["name"]:
            version = pinned.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement.name} has no pin in constraints.txt"
            assert requirement.specifier.contains(version), f"{requirement} does not admit {version}"


def test_every_installed_requirement_of_a_requirement_has_a_pin() -> None:
    pinned, seen, queue = pins(), set(), requirements(EXTRAS)
    while queue:
        requirement = queue.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen or key[0] == PROJECT["name"]:
            continue
        seen.add(key)
        try:
            needs = importlib.metadata.requires(requirement.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # An extra that this environment does without.
        assert key[0] in pinned, f"{requirement} gets installed and has no pin in constraints.txt"
        if importlib.metadata.version(requirement.name).partition("+")[0] != pinned[key[0]]:
            continue  # Another version, as with `make lowest`, may need other packages.
        for need in map(Requirement, needs):
            environments = [{"extra": extra} for extra in ("", *requirement.extras)]
            if need.marker is None or any(map(need.marker.evaluate, environments)):
                queue.append(need)
    assert len(seen) > len(PROJECT["dependencies"]), "the walk found no indirect requirement at all"


def test_version_is_the_same_everywhere() -> None:
    backmix = pytest.importorskip("backmix")
    assert backmix.__version__ == PROJECT["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_module_imports_without_the_extras() -> None:
    core = {canonicalize_name(r.name) for r in requirements([])}
    absent = ["datasets", "pyarrow", "pytorch_ood", "hypothesis", "pytest"]
    assert not core & {canonicalize_name(name) for name in absent}
    script = (
        "import importlib, pkgutil, sys\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"  # None in sys.modules makes an import fail.
        "import backmix\n"
        "for module in pkgutil.walk_packages(backmix.__path__, 'backmix.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_repository_names_no_machine_path_and_no_package_registry() -> None:
    # Put together here, so that this file does not name them either.
    hosts = [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("debian", "org"), ("download.pytorch", "org")]
    folders = ["work", "root", "opt/pypi", "tmp/venv"]
    forbidden = re.compile(
        "|".join([re.escape(".".join(host)) for host in hosts] + [rf"(?<![\w.}}-])/{folder}\b" for folder in folders])
    )
    found = []
    for path in repository_files():
        content = path.read_bytes()
        if b"\0" not in content:  # Text.
            for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), 1):
                if forbidden.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []
