"""The bill of materials holds what is installed: versions, licences, hashes, who needs whom; nothing of the machine."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.tags import sys_tags
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib, which writes the bill, is not installed")


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "tools" / "sbom.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def install(folder: Path, name: str, *fields: str) -> None:
    """Write the metadata of a package as pip leaves it behind."""
    place = folder / f"{name}-1.5.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.5", *fields, ""]))


def written(sbom: ModuleType, folder: Path, hashes: dict[tuple[str, str], str]) -> dict[str, Any]:
    from cyclonedx.output.json import JsonV1Dot6

    installed = {canonicalize_name(each.name): each for each in distributions(path=[str(folder)])}
    text = JsonV1Dot6(sbom.bill_of_materials(installed, hashes)).output_as_string()
    check(text)
    found: dict[str, Any] = json.loads(text)
    return found


def check(text: str) -> None:
    """Compare with the schema of CycloneDX 1.6."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    extras = ["Provides-Extra: dev", "Provides-Extra: page", 'Requires-Dist: backmix[page]; extra == "dev"']
    needs = [
        "Requires-Dist: Some.Core",
        'Requires-Dist: web[fast]; extra == "page"',
        'Requires-Dist: absent; extra == "dev"',
    ]
    install(tmp_path, "backmix", "License-Expression: Apache-2.0", *extras, *needs)
    install(tmp_path, "some_core", "License: MIT", 'Requires-Dist: other; sys_platform == "nowhere"')
    install(tmp_path, "web", "License-Expression: MIT AND BSD-3-Clause", 'Requires-Dist: quick; extra == "fast"')
    install(
        tmp_path, "quick", "License: Whole text of a licence\n        and more", "Classifier: License :: OSI Approved"
    )
    install(tmp_path, "other", "License: UNKNOWN", "Classifier: License :: OSI Approved :: BSD License")
    return tmp_path


def test_an_environment_of_five_packages(sbom: ModuleType, environment: Path) -> None:
    found = written(sbom, environment, {("web", "1.5"): "ab" * 32, ("other", "1.4"): "cd" * 32})
    components = {each["name"]: each for each in found["components"]}
    assert sorted(components) == ["other", "quick", "some-core", "web"]
    assert {name: each["scope"] for name, each in components.items()} == {
        "other": "optional",
        "quick": "optional",
        "some-core": "required",
        "web": "optional",
    }
    assert {name: each["purl"] for name, each in components.items()} == {
        name: f"pkg:pypi/{name}@1.5" for name in components
    }
    assert {each["version"] for each in components.values()} == {"1.5"}
    assert {name: each.get("licenses") for name, each in components.items()} == {
        "other": [{"license": {"name": "BSD License"}}],
        "quick": [{"license": {"name": "Whole text of a licence"}}],
        "some-core": [{"license": {"id": "MIT"}}],
        "web": [{"expression": "MIT AND BSD-3-Clause"}],
    }
    # A hash of another version is none of this one.
    hashes = {name: each["hashes"] for name, each in components.items() if "hashes" in each}
    assert hashes == {"web": [{"alg": "SHA-256", "content": "ab" * 32}]}
    assert found["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    needs = {each["ref"]: each.get("dependsOn", []) for each in found["dependencies"]}
    assert needs == {
        "pkg:pypi/backmix@1.5": ["pkg:pypi/some-core@1.5", "pkg:pypi/web@1.5"],
        "pkg:pypi/other@1.5": [],
        "pkg:pypi/quick@1.5": [],
        "pkg:pypi/some-core@1.5": [],
        "pkg:pypi/web@1.5": ["pkg:pypi/quick@1.5"],
    }


def test_the_number_of_the_bill_follows_from_the_packages(sbom: ModuleType, environment: Path) -> None:
    first, again = written(sbom, environment, {}), written(sbom, environment, {})
    assert first == again
    install(environment, "more")
    assert written(sbom, environment, {})["serialNumber"] != first["serialNumber"]


def test_the_hash_is_of_the_wheel_that_pip_prefers(sbom: ModuleType, tmp_path: Path, monkeypatch) -> None:
    best, *_, worse = sys_tags()
    files = [f"both-2-{worse}.whl", f"both-2-{best}.whl", "foreign-3-cp399-cp399-win32.whl"]
    lock = tmp_path / "lock.txt"
    lock.write_text(
        f"# Two lines\n# of words.\n# {files[0]}\n# {files[1]}\n"
        f"both==2 --hash=sha256:{'a' * 64} --hash=sha256:{'b' * 64}\n"
        f"# {files[2]}\nforeign==3 --hash=sha256:{'c' * 64}\n"
    )
    monkeypatch.setattr(sbom, "LOCKED", lock)
    assert sbom.installed_files() == {("both", "2"): "b" * 64}


def test_the_bill_of_this_environment(sbom: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "new" / "sbom.cdx.json"
    command = [sys.executable, str(ROOT / "tools" / "sbom.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    check(text)
    found = json.loads(text)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    components = {each["name"]: each for each in found["components"]}
    hashes = sbom.installed_files()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in map(Requirement, project["dependencies"]):
        name = canonicalize_name(requirement.name)
        component = components[name]
        assert component["version"] == version(name) and component["purl"] == f"pkg:pypi/{name}@{version(name)}"
        assert component["licenses"]
        expected = (
            [{"alg": "SHA-256", "content": hashes[name, version(name)]}] if (name, version(name)) in hashes else None
        )
        assert component.get("hashes") == expected
    for place in (str(ROOT), sys.prefix, sys.base_prefix, str(Path.home()), str(tmp_path), "file:"):
        assert place not in text
    assert "timestamp" not in text
