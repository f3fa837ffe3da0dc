"""`backmix share`: put a run into a repository of the Hugging Face hub, or write what would be put there."""

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
    """Share a run, and tell which files left the machine and what was left out.

    Args:
        run: the run.
        repo_id: "owner/name".
        private: see `backmix.hub.save_to_hub`.
        dry_run: a new folder to write the files into, and nothing is sent.
        card: see `save_to_hub`.
        training_outputs: see `backmix.hub.copy.write_shared_copy`.
        evaluation: likewise.
        license: likewise.
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
