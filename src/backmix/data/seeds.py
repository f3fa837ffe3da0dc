"""Seeds that are derived from a seed, an epoch and a purpose."""

from __future__ import annotations

import hashlib


def seed_of(*parts: object) -> int:
    """Return a seed that depends on all parts.

    So the randomness of a step depends on the purpose of the step, and not on earlier steps.
    """
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")
