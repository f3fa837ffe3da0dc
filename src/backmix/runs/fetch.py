"""Fetch runs from the Hugging Face hub, without any file that could be executed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from backmix.errors import RunError
from backmix.runs.hub_errors import explained, is_out_of_reach

PREFIX = "hub:"


NEEDED = ("config.yaml", "classes.json", "calibration.json", "model.safetensors")


OPTIONAL = ("training.safetensors",)


MOST_BYTES = 2**34  # The largest size of one file.


_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


def hub_id(run: str | os.PathLike[str]) -> str | None:
    """Return the name of the repository that a person typed, or None if the name means a folder.

    Args:
        run: "hub:owner/name", or "owner/name" as text. Without the prefix, the name means a repository only if neither
            that path nor a folder "owner" exists, so that a mistyped path does not become a request to the network. A
            `Path` without the prefix means a folder.

    Raises:
        RunError: If there is no valid name after the prefix.
    """
    text = os.fspath(run)
    if text.startswith(PREFIX):
        return check_id(text.removeprefix(PREFIX))
    if not isinstance(run, str) or not _ID.fullmatch(text):
        return None
    return None if Path(text).exists() or Path(text.partition("/")[0]).exists() else text


def check_id(name: str) -> str:
    """Return the name if it is a valid name of a repository.

    Raises:
        RunError: If it is not.
    """
    if not _ID.fullmatch(name) or "--" in name or ".." in name or len(name) > 96:
        raise RunError(
            f"{name!r} is no repository of the hub; expected owner/name, of letters, digits, dots and hyphens"
        )
    return name


def run_folder(run: str | os.PathLike[str], *, revision: str | None = None, token: str | bool | None = None) -> Path:
    """Return the folder of a run, which is fetched from the hub if `run` names a repository, see `hub_id`.

    Only the files of a run are fetched, with weights only as safetensors. Other files of the repository are not
    fetched. The files stay in the cache of the hub, and are used from there if there is no network. Their content is
    checked when the run is loaded.

    Args:
        run: A folder or a repository.
        revision: The branch, tag or commit of the repository; None: main.
        token: The token for a private repository; None: the token of the logged-in user.

    Raises:
        RunError: If the repository does not exist, cannot be reached, or is not a run.
    """
    name = hub_id(run)
    if name is None:
        if revision is not None:
            raise RunError(
                f"revision {revision!r} belongs to a repository of the hub, and {os.fspath(run)} is a folder"
            )
        return Path(run)
    from huggingface_hub import HfApi, constants, snapshot_download

    typed = os.fspath(run)
    with explained(name, bare=typed == name):
        unreached: Exception | None = None
        if not constants.HF_HUB_OFFLINE:
            try:
                info = HfApi().model_info(name, revision=revision, files_metadata=True, token=token)
                _check_files(name, {file.rfilename: file.size or 0 for file in info.siblings or []})
            except Exception as error:
                if not is_out_of_reach(error):
                    raise
                unreached = error
        try:
            folder = snapshot_download(
                name,
                revision=revision,
                token=token,
                allow_patterns=[*NEEDED, *OPTIONAL],
                local_files_only=constants.HF_HUB_OFFLINE or unreached is not None,
            )
        except Exception as error:
            raise unreached or error from error
    return Path(folder)


def _check_files(name: str, sizes: dict[str, int]) -> None:
    missing = [file for file in NEEDED if file not in sizes]
    if missing:
        raise RunError(f"{name} on the hub is not a run of backmix: it has no {', '.join(missing)}")
    for file in (*NEEDED, *OPTIONAL):
        if sizes.get(file, 0) > MAX_BYTES.get(file, MOST_BYTES):
            raise RunError(
                f"{file} of {name} on the hub has {sizes[file]} bytes, more than a run does. It is not fetched."
            )


MAX_BYTES = {"config.yaml": 2**20, "classes.json": 2**23, "calibration.json": 2**26}
