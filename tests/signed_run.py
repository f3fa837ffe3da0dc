"""A run with other content and fingerprints that fit it, as somebody makes it who knows how."""

from backmix.data.write_yaml import as_yaml
from backmix.files import sha256
from backmix.runs.folder import _digest


def sign(folder, config, names):
    """Write config.yaml with the fingerprints of the settings and of what lies in the folder now."""
    files = {name: sha256(folder / name) for name in names if (folder / name).is_file()}
    config = {key: value for key, value in config.items() if key != "files"}
    text = as_yaml({**config, "files": {**files, "config.yaml": _digest(config)}})
    (folder / "config.yaml").write_text(text, encoding="utf-8")
