"""What `make` installs on the tested platform is known file by file: versions, hashes, and nothing else."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
LOCKED = ROOT / "requirements-linux-x86_64-cp311.txt"
LINE = re.compile(r"([a-z0-9-]+)==(\S+)((?: --hash=sha256:[0-9a-f]{64})+)")


def entries() -> dict[str, tuple[str, dict[str, str]]]:
    """Return of each package its version, and of each of its files the SHA-256."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    files: list[str] = []
    for line in LOCKED.read_text(encoding="utf-8").splitlines()[2:]:  # Two lines say what the file is.
        if line.startswith("# "):
            files.append(line[2:])
            continue
        match = LINE.fullmatch(line)
        assert match is not None, f"not NAME==VERSION with hashes: {line}"
        assert match[1] not in found, f"{match[1]} stands there twice"
        hashes = re.findall(r"[0-9a-f]{64}", match[3])
        assert len(hashes) == len(files) == len(set(files)) == len(set(hashes)), (
            f"{match[1]}: not one hash for each file"
        )
        found[match[1]] = match[2], dict(zip(files, hashes))
        files = []
    assert files == []
    return found


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_versions_are_those_of_the_constraints() -> None:
    assert {name: version for name, (version, _) in entries().items()} == constraints(), "run `make lock`"


def test_all_direct_requirements_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    optional = project["project"]["optional-dependencies"].values()
    texts = project["build-system"]["requires"] + project["project"]["dependencies"]
    for requirement in map(Requirement, [*texts, *(text for texts in optional for text in texts), "pip", "uv"]):
        if requirement.name != "backmix":
            version, _ = entries()[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement} does not admit {version}"


def test_every_requirement_of_a_package_that_is_there_is_there_too() -> None:
    """Of the packages of this environment; the others are resolved by uv."""
    locked = entries()
    # An environment of another platform has other markers, so those of the tested one are given.
    markers = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
    markers |= {"python_version": "3.11", "python_full_version": "3.11.7", "implementation_name": "cpython"}
    markers |= {"platform_python_implementation": "CPython", "extra": ""}
    looked_at = 0
    for name, (version, _) in locked.items():
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if installed.version != version:
            continue
        for need in map(Requirement, installed.requires or []):
            if need.marker is None or need.marker.evaluate(markers):
                key = canonicalize_name(need.name)
                assert key in locked, f"{name} {version} needs {need}, which stands neither here nor in constraints.txt"
                assert need.specifier.contains(locked[key][0], prereleases=True), f"{name} {version} needs {need}"
                looked_at += 1
    assert looked_at > 20


def test_every_file_is_a_wheel_of_that_version_for_the_tested_platform() -> None:
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)]
    platforms += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    fits: set[Tag] = {*cpython_tags((3, 11), platforms=platforms), *compatible_tags((3, 11), "cp311", platforms)}
    for name, (version, files) in entries().items():
        for file in files:
            project, of, _, tags = parse_wheel_filename(file)  # Raises on a source archive.
            assert (project, of) == (name, Version(version)), f"{file} is not {name} {version}"
            assert tags & fits, f"{file} does not fit CPython 3.11 on Linux x86_64"


def test_no_address_and_no_option_is_in_it() -> None:
    text = LOCKED.read_text(encoding="utf-8")
    assert "://" not in text and "@" not in text
    assert re.findall(r"(?:^| )(--?[a-z][\w-]*)", text, re.MULTILINE) == ["--hash"] * text.count("--hash=sha256:")


def platform_is_tested() -> bool:
    """Run the lines of the Makefile that decide which way is taken."""
    lines = re.search(r"^define PLATFORM_IS_TESTED\n(.*?)^endef", (ROOT / "Makefile").read_text(), re.M | re.S)
    assert lines is not None
    with pytest.raises(SystemExit) as stop:
        exec(lines[1], {})
    return not stop.value.code


def test_hashes_are_asked_for_on_the_platform_they_were_made_for_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "version_info", (3, 11, 7, "final", 0))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    assert platform_is_tested() == (sys.implementation.name == "cpython")
    for target, name, value in [
        (sys, "platform", "darwin"),
        (sys, "version_info", (3, 12, 0, "final", 0)),
        (platform, "machine", lambda: "aarch64"),
        (platform, "libc_ver", lambda: ("", "")),
    ]:
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(target, name, value)
            assert not platform_is_tested()
