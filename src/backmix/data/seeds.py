"""Seeds that follow from a seed, an epoch and a purpose."""

from __future__ import annotations

import hashlib


def seed_of(*parts: object) -> int:
    """A seed that depends on all parts: the randomness of a step is a function of what it is for, not of history."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")
