"""The work of `backmix share`: put a run on the Hugging Face hub, or only write the files that would be sent."""

from __future__ import annotations

from pathlib import Path

from backmix.cli.console import make_console
from backmix.hub.copy import SharedCopy, write_shared_copy
from backmix.hub.share import upload
from backmix.runs.fetch import check_id


def share_command(
    run: Path,
    repo_id: str,
    *,
    private: bool = False,
    dry_run: Path | None = None,
    card: bool = True,
    training_outputs: bool | None = None,
    evaluation: Path | None = None,
    license: str | None = None,
) -> SharedCopy:
    """Share a run, and print which files were sent and which settings were left out.

    Args:
        run: The run folder.
        repo_id: The name of the repository, "owner/name".
        private: Whether to make a private repository, see `backmix.hub.save_to_hub`.
        dry_run: A new folder to write the files into; if it is given, nothing is sent.
        card: Whether to write README.md, see `backmix.hub.save_to_hub`.
        training_outputs: Whether to share training.safetensors, see `backmix.hub.copy.write_shared_copy`.
        evaluation: The file of figures for the card, see `write_shared_copy`.
        license: The identifier of the licence on the hub, see `write_shared_copy`.

    Returns:
        The copy that was shared.
    """
    import tempfile

    check_id(repo_id)
    console = make_console()
    with tempfile.TemporaryDirectory(prefix="backmix-") as temporary:
        copy = write_shared_copy(
            run,
            dry_run or Path(temporary) / "shared",
            name=repo_id,
            card=card,
            training_outputs=training_outputs,
            evaluation=evaluation,
            license=license,
        )
        for name in copy.files:
            console.print(f"{name}: {(copy.folder / name).stat().st_size:,} bytes")
        if copy.left_out:
            console.print(f"left out of config.yaml: {', '.join(copy.left_out)}")
        if "training.safetensors" in copy.files:
            console.print("training.safetensors holds features of training images, though no pictures.", style="yellow")
        if card and license is None:
            console.print("The card names no license yet: give --license, or write it there.", style="yellow")
        if dry_run is not None:
            console.print(f"nothing was sent; {repo_id} would hold what is in {dry_run}")
        else:
            console.print(f"shared as {upload(copy.folder, copy.files, repo_id, private=private)}")
    return copy
