"""Share a run in a repository on the Hugging Face hub, without anything private."""

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

    `backmix.hub.copy.write_shared_copy` describes what leaves the machine.

    Args:
        what: A classifier, or the folder of a run. The card of a run also describes its training and its figures.
        repo_id: The repository, "owner/name". It is created if it is missing.
        private: Whether only you and the people you allow see the repository. A public repository is then refused.
        token: A token that may write to the repository. None: The token of the logged-in user.
        card: Whether to write README.md, which replaces an existing one.
        training_outputs: See `backmix.hub.copy.write_shared_copy`.
        evaluation: See `backmix.hub.copy.write_shared_copy`.
        license: See `backmix.hub.copy.write_shared_copy`.

    Returns:
        The address of the repository.

    Raises:
        RunError: If the run cannot be shared, or if the repository cannot be written or holds something else.
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
    """Write these files of a folder, and no others, into a repository, and return its address.

    Raises:
        RunError: See `save_to_hub`.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(token=token)
    with explained(repo_id, writing=True):
        # None leaves the choice to the hub, because an organisation may want all its repositories private.
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
        # These files come from a run that was there before, and do not belong to the new weights.
        operations += [CommitOperationDelete(name) for name in OPTIONAL if name in there and name not in files]
        api.create_commit(repo_id, operations, commit_message="Share a run of backmix", parent_commit=info.sha)
    return str(url)
