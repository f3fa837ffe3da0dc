"""Runs on the Hugging Face hub: fetched without anything that could run, shared without anything private."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backmix.errors import RunError
from backmix.hub_errors import explained, is_out_of_reach

if TYPE_CHECKING:
    from backmix.classifier import OpenSetClassifier

PREFIX = "hub:"
NEEDED = ("config.yaml", "classes.json", "calibration.json", "model.safetensors")
OPTIONAL = ("training.safetensors",)
MOST_BYTES = 2**34  # Of one file.

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


def hub_id(run: str | os.PathLike[str]) -> str | None:
    """The repository that a person named, or None where a folder is meant.

    Args:
        run: "hub:owner/name"; or "owner/name" as text, where there is neither such a path nor a folder "owner", so
            that a mistyped path does not become a request to the network. A `Path` without the prefix is a folder.

    Raises:
        RunError: for a prefix without an id behind it.
    """
    text = os.fspath(run)
    if text.startswith(PREFIX):
        return check_id(text.removeprefix(PREFIX))
    if not isinstance(run, str) or not _ID.fullmatch(text):
        return None
    return None if Path(text).exists() or Path(text.partition("/")[0]).exists() else text


def check_id(name: str) -> str:
    """The name itself.

    Raises:
        RunError: when it is no id of a repository.
    """
    if not _ID.fullmatch(name) or "--" in name or ".." in name or len(name) > 96:
        raise RunError(
            f"{name!r} is no repository of the hub; expected owner/name, of letters, digits, dots and hyphens"
        )
    return name


def run_folder(run: str | os.PathLike[str], *, revision: str | None = None, token: str | bool | None = None) -> Path:
    """The folder of a run, fetched from the hub where `run` names a repository, see `hub_id`.

    Only the files of a run are fetched, and of weights only safetensors: whatever else a repository holds is left
    there. They are in the cache of the hub afterwards, and used from there where there is no network. What they hold
    is checked when the run is loaded.

    Args:
        run: a folder or a repository.
        revision: branch, tag or commit of the repository; None: main.
        token: for private ones; None: the one that is logged in.

    Raises:
        RunError: when the repository is not there, not within reach, or no run.
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


def load_from_hub(
    run: str | os.PathLike[str], *, revision: str | None = None, token: str | bool | None = None
) -> OpenSetClassifier:
    """Fetch a run, see `run_folder`, and load it with all its checks.

    Raises:
        RunError: when it cannot be fetched, was altered, or describes a network by something that lies elsewhere.
    """
    from backmix.run import load_run, read_config

    folder = run_folder(run, revision=revision, token=token)
    name = hub_id(run)
    if name is None:
        return load_run(folder)
    try:
        model = read_config(folder).get("model")
        if ":" in str(model):
            raise RunError(f"its network {model!r} lies in another place, which is not asked.")
        return load_run(folder)
    except RunError as error:
        raise RunError(
            f"{name} on the hub cannot be used: {error} Delete {folder} to fetch it again, or give another revision."
        ) from error


def save_to_hub(
    what: OpenSetClassifier | str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = False,
    token: str | bool | None = None,
    card: bool = True,
    training_outputs: bool | None = None,
    evaluation: str | os.PathLike[str] | None = None,
    license: str | None = None,
) -> str:
    """Share a classifier or a run in a repository of the hub, in one commit.

    See `backmix.shared_copy.write_shared_copy` for what leaves the machine and for the last four arguments.

    Args:
        what: a classifier, or the folder of a run, whose card then tells its training and its figures too.
        repo_id: "owner/name"; made where it is missing.
        private: whether only you and those you allow see it. A public repository is refused then.
        token: that may write there; None: the one that is logged in.
        card: whether to write README.md, over the one that is there.

    Returns:
        Address of the repository.

    Raises:
        RunError: when the run cannot be shared, or the repository cannot be written or holds something else.
    """
    from backmix.classifier import OpenSetClassifier
    from backmix.shared_copy import write_shared_copy

    check_id(repo_id)
    with tempfile.TemporaryDirectory(prefix="backmix-") as temporary:
        if isinstance(what, OpenSetClassifier):
            run = Path(temporary) / "run"
            what.save(run)
        else:
            run = Path(what)
        copy = write_shared_copy(
            run,
            Path(temporary) / "shared",
            name=repo_id,
            card=card,
            training_outputs=training_outputs,
            evaluation=None if evaluation is None else Path(evaluation),
            license=license,
        )
        return upload(copy.folder, copy.files, repo_id, private=private, token=token)


def upload(
    folder: Path, files: tuple[str, ...], repo_id: str, *, private: bool = False, token: str | bool | None = None
) -> str:
    """Write these files of a folder, and no others, into a repository; gives its address.

    Raises:
        RunError: see `save_to_hub`.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(token=token)
    with explained(repo_id, writing=True):
        # Not False: an organisation may want all its repositories private.
        url = api.create_repo(repo_id, private=private or None, exist_ok=True)
        info = api.model_info(repo_id)
        there = {file.rfilename for file in info.siblings or []}
        if private and not info.private:
            raise RunError(
                f"{repo_id} is there already and everyone can read it. Make it private on the hub first, or take "
                "another name."
            )
        if there - {".gitattributes", "README.md", "LICENSE"} and "config.yaml" not in there:
            raise RunError(f"{repo_id} holds something else than a run of backmix. Take another name.")
        operations: list[Any] = [CommitOperationAdd(name, folder / name) for name in files]
        # Of a run that was there before: it does not belong to these weights.
        operations += [CommitOperationDelete(name) for name in OPTIONAL if name in there and name not in files]
        api.create_commit(repo_id, operations, commit_message="Share a run of backmix", parent_commit=info.sha)
    return str(url)


def _check_files(name: str, sizes: dict[str, int]) -> None:
    from backmix.run_limits import MAX_BYTES

    missing = [file for file in NEEDED if file not in sizes]
    if missing:
        raise RunError(f"{name} on the hub is not a run of backmix: it has no {', '.join(missing)}")
    for file in (*NEEDED, *OPTIONAL):
        if sizes.get(file, 0) > MAX_BYTES.get(file, MOST_BYTES):
            raise RunError(
                f"{file} of {name} on the hub has {sizes[file]} bytes, more than a run does. It is not fetched."
            )
