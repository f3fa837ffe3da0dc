"""Write the bill of materials of this environment: CycloneDX 1.6 as JSON. `make sbom` runs it.

The components are the packages that are installed, with version, purl, licence as their metadata states it, and what
requires what. On the tested platform a component also has the SHA-256 of the wheel that pip chooses, from the file of
hashes. No path and no time is in it, so the same environment gives the same file.
"""

from __future__ import annotations

import re
import sys
import uuid
from importlib.metadata import Distribution, PackageMetadata, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.tags import Tag, sys_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
LOCKED = ROOT / "requirements-linux-x86_64-cp311.txt"
PROJECT = "backmix"
EXTRA = "dev"  # With it `make` installs the project.


def main() -> None:
    """Write the file that the command line names."""
    if len(sys.argv) != 2:
        sys.exit("name the file to write: python tools/sbom.py build/sbom.cdx.json")
    out = Path(sys.argv[1])
    bom = bill_of_materials({canonicalize_name(each.name): each for each in distributions()}, installed_files())
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        sys.exit(f"what was made is not CycloneDX 1.6, so {out} is not written: {error}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text + "\n", encoding="utf-8")
    print(f"{out}: {len(bom.components)} packages, {sum(bool(each.hashes) for each in bom.components)} with a SHA-256")


def bill_of_materials(installed: dict[str, Distribution], hashes: dict[tuple[str, str], str]) -> Bom:
    """Return the bill of materials of an environment.

    Args:
        installed: The packages by their normalised names, the project among them.
        hashes: The SHA-256 of the file that a package was installed from, by normalised name and version.

    Raises:
        KeyError: If the project is not installed.
    """
    needed, reached = reach(installed), reach(installed, EXTRA)
    components = {name: component(name, each, hashes, name in needed) for name, each in sorted(installed.items())}
    bom = Bom()
    bom.metadata.component = components[PROJECT]
    bom.components.update(each for name, each in components.items() if name != PROJECT)
    for name, each in components.items():
        needs = requirements(installed[name], reached.get(name, set()))
        names = {canonicalize_name(need.name) for need in needs} & components.keys() - {name}
        bom.register_dependency(each, [components[need] for need in sorted(names)])
    # A random number and the clock would make each file another.
    bom.metadata.timestamp = None  # type: ignore[assignment]
    content = " ".join(f"{each.purl}" for each in bom.components)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, content)
    return bom


def component(name: str, installed: Distribution, hashes: dict[tuple[str, str], str], needed: bool) -> Component:
    """Return the component of an installed package; `needed` says whether the project needs it without any extra."""
    version, purl = installed.version, PackageURL("pypi", name=name, version=installed.version)
    sha256 = hashes.get((name, version))
    return Component(
        name=name,
        version=version,
        purl=purl,
        bom_ref=str(purl),
        type=ComponentType.APPLICATION if name == PROJECT else ComponentType.LIBRARY,
        scope=ComponentScope.REQUIRED if needed else ComponentScope.OPTIONAL,
        description=first(installed.metadata, "Summary") or None,
        licenses=licences(installed.metadata),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else [],
    )


def licences(metadata: PackageMetadata) -> list[License]:
    """Return the licence that the metadata of a package states, the clearest statement first; none if there is none.

    That is an SPDX expression, else the classifiers, else the first line of the field for free text.
    """
    make = LicenseFactory()
    text = first(metadata, "License").removeprefix("UNKNOWN")
    for stated in filter(None, (first(metadata, "License-Expression"), text)):
        try:
            return [make.make_from_string(canonicalize_license_expression(stated))]
        except InvalidLicenseExpression:
            continue
    classified = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")]
    named = sorted({line.rpartition(" :: ")[2] for line in classified} - {"OSI Approved"})
    if not named and text:
        named = [re.sub(r"\s+", " ", text.splitlines()[0])[:100]]
    return [make.make_with_name(name) for name in named]


def first(metadata: PackageMetadata, field: str) -> str:
    """Return the first value of a field of the metadata; an empty text if it has none."""
    values = metadata.get_all(field) or [""]
    return str(values[0]).strip()


def reach(installed: dict[str, Distribution], extra: str = "") -> dict[str, set[str]]:
    """Return what the project with an extra leads to: the names, each with the extras it is required with."""
    found: dict[str, set[str]] = {}
    queue = [(PROJECT, extra)]
    while queue:
        name, asked = queue.pop()
        if name not in installed or asked in found.setdefault(name, set()):
            continue
        found[name].add(asked)
        for need in requirements(installed[name], {asked}):
            queue += [(canonicalize_name(need.name), each) for each in need.extras or {""}]
    return {name: extras for name, extras in found.items() if extras}


def requirements(installed: Distribution, extras: set[str]) -> list[Requirement]:
    """Return what a package with these extras requires on this machine."""
    asked = [{"extra": extra} for extra in {"", *extras}]
    needs = map(Requirement, installed.requires or [])
    return [need for need in needs if need.marker is None or any(map(need.marker.evaluate, asked))]


def installed_files() -> dict[tuple[str, str], str]:
    """Return the SHA-256 of the wheel that pip chooses here, by name and version; empty on another platform.

    Of several wheels in the file of hashes pip takes the one whose tags come first in the list of this Python.
    """
    rank = {tag: place for place, tag in enumerate(sys_tags())}
    found: dict[tuple[str, str], str] = {}
    files: list[str] = []
    for line in LOCKED.read_text(encoding="utf-8").splitlines():
        if line.endswith(".whl"):
            files.append(line.removeprefix("# "))
        elif not line.startswith("#"):
            pin, *hashes = line.split()
            name, _, version = pin.partition("==")
            ranks = [(place(file, rank), digest) for file, digest in zip(files, hashes, strict=True)]
            best = min(ranks)
            if best[0] < len(rank):
                found[name, version] = best[1].removeprefix("--hash=sha256:")
            files = []
    return found


def place(file: str, rank: dict[Tag, int]) -> int:
    """Return the place of a wheel in the order of preference, or the length of the order if it does not fit."""
    return min((rank.get(tag, len(rank)) for tag in parse_wheel_filename(file)[3]), default=len(rank))


if __name__ == "__main__":
    main()
