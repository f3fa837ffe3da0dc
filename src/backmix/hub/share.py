"""Runs on the Hugging Face hub: fetched without anything that could run, shared without anything private."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backmix.classifier import OpenSetClassifier
from backmix.errors import RunError
from backmix.hub.copy import write_shared_copy
from backmix.runs.fetch import OPTIONAL, check_id
from backmix.runs.hub_errors import explained

if TYPE_CHECKING:
    from backmix.classifier import OpenSetClassifier


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

    See `backmix.hub.copy.write_shared_copy` for what leaves the machine and for the last four arguments.

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
