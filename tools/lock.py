"""Write the hashes of all files that `make` installs on the platform that is tested; `make lock` runs this.

uv resolves pyproject.toml with its `dev` extra under the versions of constraints.txt and asks the package index for the
SHA-256 of each file. Wheels that fit the platform are kept. Source archives are left out, so nothing is built, and no
code of a package runs, while it is installed. Addresses are left out too: pip asks the index that it is set up with.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = "constraints.txt"
LOCKED = "requirements-linux-x86_64-cp311.txt"
PYTHON = "3.11.5"  # The lowest 3.11 that all versions in constraints.txt accept.
PLATFORM = "x86_64-manylinux_2_28"
HEADER = f"""\
# What `make` installs on the tested platform, CPython 3.11 on Linux x86_64 (glibc): the versions of {CONSTRAINTS},
# each with the SHA-256 of every wheel that fits, and above it the names of these files. `make lock` writes it.
"""


def main() -> None:
    """Resolve, compare with constraints.txt, and write the file."""
    packages = resolve()
    wanted = constrained()
    found: dict[str, str] = {canonicalize_name(package["name"]): package["version"] for package in packages}
    if found != wanted:
        lines = [
            f"  {name}: {wanted.get(name, 'absent')} in {CONSTRAINTS}, {found.get(name, 'absent')} is resolved"
            for name in sorted(found.keys() | wanted.keys())
            if found.get(name) != wanted.get(name)
        ]
        sys.exit(
            f"{CONSTRAINTS} does not hold what pyproject.toml resolves to, so {LOCKED} stays as it is. "
            f"Mend these lines, then run `make lock` again:\n" + "\n".join(lines)
        )
    text = HEADER + "".join(map(entry, packages))
    (ROOT / LOCKED).write_text(text, encoding="utf-8")
    print(f"{LOCKED}: {len(packages)} packages, {text.count('--hash=')} files")


def resolve() -> list[dict[str, Any]]:
    """Return what uv resolves: for each package its name, its version and its wheels with address and hashes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    # pip and what builds the package itself come first in an installation; `make lowest` needs uv.
    more = ["pip", "uv", *project["build-system"]["requires"]]
    with tempfile.TemporaryDirectory() as folder:
        # The standard format for locked requirements (PEP 751), because it names each file beside its hash.
        lock = Path(folder) / "pylock.toml"
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--extra", "dev", "-c", CONSTRAINTS]
        command += ["--python-version", PYTHON, "--python-platform", PLATFORM, "--generate-hashes"]
        command += ["--format", "pylock.toml", "-o", str(lock), "pyproject.toml", "-"]
        done = subprocess.run(command, cwd=ROOT, input="\n".join(more), text=True, stdout=subprocess.DEVNULL)
        if done.returncode:
            sys.exit("uv could not resolve the requirements; its own message stands above.")
        packages: list[dict[str, Any]] = tomllib.loads(lock.read_text(encoding="utf-8"))["packages"]
    return packages


def constrained() -> dict[str, str]:
    """Return the version of each package in constraints.txt."""
    lines = (ROOT / CONSTRAINTS).read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def entry(package: dict[str, Any]) -> str:
    """Return the lines of a package: the names of its files as comments, then one line for pip."""
    wheels = {wheel["url"].rpartition("/")[2]: wheel["hashes"]["sha256"] for wheel in package.get("wheels", [])}
    if not wheels:
        sys.exit(f"{package['name']} {package['version']} has no wheel for {PLATFORM}; choose a version that has one.")
    names = "".join(f"# {name}\n" for name in sorted(wheels))
    hashes = " ".join(f"--hash=sha256:{wheels[name]}" for name in sorted(wheels))
    return f"{names}{canonicalize_name(package['name'])}=={package['version']} {hashes}\n"


if __name__ == "__main__":
    main()
