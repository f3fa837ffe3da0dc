"""Write an answer in plain words: how strange a picture looks, and why it is called known or unknown."""

from __future__ import annotations

from backmix.threshold.conformal import ConformalThreshold


def how_strange(p_value: float, held_out: int) -> str:
    """Return a sentence that explains a p-value as a count of photographs.

    Args:
        p_value: The p-value of `ConformalThreshold.p_value`, above 0 and at most 1.
        held_out: The number of known images that the picture was compared to.
    """
    if round(p_value * (held_out + 1)) <= 1:
        return f"None of the {held_out} known photographs it is compared to looks this strange."
    if p_value > 0.995:
        return "Nearly every known photograph looks at least this strange."
    base = 100 if p_value >= 0.01 else 1000
    count = max(1, round(base * p_value))
    return f"Of {base} known photographs, about {count} {'looks' if count == 1 else 'look'} at least this strange."


def why(known: bool, threshold: ConformalThreshold) -> str:
    """Return a sentence on why a picture is called known or unknown.

    Args:
        known: Whether the picture is called known.
        threshold: The threshold that decided.
    """
    if threshold.note is not None:
        return "Every picture is called known at this share."
    allowed = in_hundred(threshold.alpha)
    if known:
        return f"Called known, because more than {allowed} known photographs look at least this strange."
    return f"Called unknown, because at most {allowed} known photographs look this strange."


def in_hundred(share: float) -> str:
    """Return a share of photographs as "5 in 100", or as "1 in 1000" if it is small."""
    base = 100 if share >= 0.01 else 1000
    return f"{base * share:.3g} in {base}"


def what_it_means(accept: float, refused: float | None = None) -> str:
    """Return sentences that explain the share of known photographs to accept to a person who sets it.

    Args:
        accept: The share.
        refused: The estimated share of photographs of other things that is called unknown at it; None: not known.
    """
    others = "How many of other things will be called unknown is not known."
    if refused is not None:
        others = f"Of other things, by an estimate, about {100 * refused:.0f} in 100 will be called unknown."
    return (
        f"Of new photographs of known classes, about {in_hundred(1 - accept)} will be called unknown. {others} "
        "Accept more of the known, and more of the unknown will be given the name of a class."
    )
