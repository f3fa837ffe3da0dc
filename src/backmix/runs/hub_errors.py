"""Turn the errors of the client of the Hugging Face hub into errors of backmix that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backmix.errors import BackmixError, RunError, in_one_line

_NO_RIGHT = "nobody is logged in who may {} it: run `hf auth login`, set HF_TOKEN, or give a token"


def is_out_of_reach(error: Exception) -> bool:
    """Return whether the hub gave no answer or an unusable one, so that the cache may be used instead."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, BackmixError | ValueError):
        return False
    return not isinstance(error, HfHubHTTPError) or _status(error) >= 500


@contextmanager
def explained(name: str, *, bare: bool = False, writing: bool = False) -> Iterator[None]:
    """A context in which errors of the hub's client become a RunError of one line that says what to do.

    Args:
        name: The name of the repository, "owner/name".
        bare: Whether the name was typed without a prefix, so that it may have meant a folder.
        writing: Whether the repository is written to.

    Raises:
        RunError: In place of any error of the client.
    """
    from huggingface_hub import constants, errors

    nowhere = f"there is no folder {name!r} here, and " if bare else ""
    try:
        yield
    except BackmixError:
        raise
    except errors.GatedRepoError as error:
        raise RunError(f"{name} on the hub asks for consent: log in there, accept its terms, then try again") from error
    except errors.RevisionNotFoundError as error:
        raise RunError(f"{name} on the hub has no such revision. Give a branch, a tag or a commit of it.") from error
    except errors.RepositoryNotFoundError as error:
        if writing:
            raise RunError(f"{name} is not on the hub, or {_NO_RIGHT.format('write')}") from error
        raise RunError(f"{nowhere}{name} is not on the hub, or it is private and {_NO_RIGHT.format('read')}") from error
    except errors.LocalTokenNotFoundError as error:
        raise RunError("nobody is logged in to the hub: run `hf auth login`, set HF_TOKEN, or give a token") from error
    except errors.OfflineModeIsEnabled as error:
        raise RunError(f"HF_HUB_OFFLINE is set, so {name} cannot be asked for. Unset it.") from error
    except errors.LocalEntryNotFoundError as error:
        why = (
            "HF_HUB_OFFLINE forbids to fetch it. Unset it"
            if constants.HF_HUB_OFFLINE
            else "fetching it failed. Try again"
        )
        raise RunError(f"{nowhere}{name} is not in the cache of the hub, and {why}, or give a folder.") from error
    except errors.HfHubHTTPError as error:
        if _status(error) in (401, 403):
            raise RunError(f"{name} on the hub: {_NO_RIGHT.format('write' if writing else 'read')}") from error
        raise RunError(f"the hub refused {name} ({_status(error)}): {in_one_line(error)}") from error
    except ValueError as error:
        raise RunError(f"{name} cannot be used on the hub: {in_one_line(error)}") from error
    except Exception as error:  # Versions of the client use different network libraries with different errors.
        raise RunError(
            f"{nowhere}{name} cannot be reached on the hub: {in_one_line(error)}. Look at the network, or "
            "give a folder."
        ) from error


def _status(error: Exception) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0))
