"""Write the figures of an audit as sentences that claim no more than the images show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backmix.pages.words import GAP, count, interval, listed, percent, quoted, signed

FEW = 30  # The number of images below which a figure comes with a warning.
MUCH, SOME = 0.30, 0.10  # The background gaps from which the verdict gets stronger.
COSTLY = 0.05
MEASURED = (
    "Where true masks could be compared, on 90 networks, the background gap from saliency masks was off by up to 3 "
    "points on handwritten digits and on butterflies, by up to 9 on objects of four kinds (ETH-80), and by up to 20 on "
    "objects of fourteen kinds (MSRC), there mostly too small: that no gap is found does not mean that there is none."
)
"""The figures come from results/study-*.json, see docs/audit.md; tests/test_results.py compares them."""

Interval = Mapping[str, float]


def points(of: Interval) -> str:
    """Return a difference of shares with its interval, as "68 points (62 to 74)"; below ten points with a decimal."""
    digits = 0 if abs(of["value"]) >= 0.1 else 1
    return f"{signed(of['value'], digits)} points ({signed(of['low'], digits)} to {signed(of['high'], digits)})"


def right_of(share: float, images: int) -> str:
    """Return a share as "24 of 100"; with fewer than 100 images it is the count itself, as "6 of 25"."""
    if images < 100:
        return f"{round(share * images)} of {images}"
    rounded = round(100 * share)
    if rounded == 0 and share > 0:
        return "fewer than 1 of 100"
    if rounded == 100 and share < 1:
        return "more than 99 of 100"
    return f"{rounded} of 100"


def lead(result: Mapping[str, Any]) -> list[str]:
    """Return the result of the audit in one or two sentences."""
    gap, accuracy, images = result["background_gap"], result["accuracy"], result["images"]
    if gap is None:
        right = accuracy["original"]
        whole = [] if right is None else [f"On the original images it is right on {percent(right)}."]
        return ["No image could be given another background, so whether it looks at the object cannot be said.", *whole]
    of_class, of_any = (right_of(accuracy[name], images[name]) for name in ("mixed-same", "mixed-random"))
    return [
        f"With the background of another image of its class it answers {of_class} right, with one of any class {of_any}"
        f": a gap of {points(gap)}.",
        verdict(gap),
    ]


def verdict(gap: Interval) -> str:
    """Return a verdict on the classifier from its background gap, which claims no gap if the interval contains 0."""
    value, low, high = gap["value"], gap["low"], gap["high"]
    if low > 0:
        if value >= MUCH:
            return "This classifier recognises much by the background."
        if value >= SOME:
            return "This classifier leans on the background."
        return "This classifier leans on the background a little."
    if high < 0:
        return (
            "It does better on backgrounds of any class than on those of its own, by more than chance. That is rare; "
            "the pictures may show why."
        )
    if low == high == 0:
        return "No exchange of backgrounds made a difference to how many were right."
    most = signed(high, 0 if high >= 0.1 else 1)
    if high >= SOME:
        return (
            f"The interval holds 0: that it leans on the background is not shown. Nor is it ruled out, as the gap may "
            f"be up to {most} points; more images would tell."
        )
    return (
        f"The interval holds 0: that it leans on the background is not shown, and {most} points is about the most that "
        f"it can be."
    )


def next_sentence(result: Mapping[str, Any]) -> str | None:
    """Return a sentence on the accuracy on mixed-next, where the background is never of the class of the object."""
    value = result["accuracy"]["mixed-next"]
    if value is None or result["background_gap"] is None:
        return None
    right = right_of(value, result["images"]["mixed-next"])
    return (
        f"With the background of the next class, which is never its own, it answers {right} right. A background of any "
        f"class is drawn at random and is sometimes of its own."
    )


def pasting_sentence(result: Mapping[str, Any]) -> str | None:
    """Return a sentence on the cost of pasting alone."""
    cost = result["pasting_cost"]
    if cost is None:
        return None
    start = f"Pasting an object back on its own background costs {points(cost)}"
    if cost["low"] <= 0 <= cost["high"]:
        return f"{start}: no cost is shown. The gap is free of it in any case: both of its sets are pasted."
    if cost["value"] < 0:
        return f"{start}: a little more is right after pasting than before."
    share = "a good part" if cost["value"] >= COSTLY else "a small part"
    return (
        f"{start}, so {share} of what is lost between the originals and the mixed sets is lost to pasting. The gap is "
        f"free of it: both of its sets are pasted."
    )


def allowed_sentence(result: Mapping[str, Any], fail_above: float | None) -> str | None:
    """Return a sentence on whether the gap is within the limit of --fail-above; None without a limit."""
    if fail_above is None:
        return None
    gap = result["background_gap"]
    allowed = f"{signed(fail_above, 1).removesuffix('.0')} points allowed by --fail-above"
    if gap is None:
        return f"There is no gap to compare with the {allowed}, so the audit fails."
    if gap["value"] > fail_above:
        return f"The gap is above the {allowed}: the audit fails."
    return f"The gap is within the {allowed}: the audit passes."


def caveats(result: Mapping[str, Any]) -> list[str]:
    """Return the caveats of the audit, one or two sentences each."""
    found = []
    mixed, originals = result["images"]["mixed-random"], result["images"]["original"]
    if mixed < FEW:
        found.append(f"Only {count(mixed, 'image')} could be given another background. Such figures say little.")
    elif mixed < 0.9 * originals:
        found.append(f"Only {mixed:,} of {originals:,} images could be given another background; see the masks below.")
    few = [name for name, of in result["classes"].items() if of["images"] < 10]
    if few and mixed >= FEW:
        found.append(f"Fewer than 10 images each: {listed([quoted(name) for name in few])}.")
    guess = commonest(result)
    right = result["accuracy_intervals"]["original"]
    if right is not None and guess is not None and right["low"] <= guess and len(result["classes"]) > 1:
        found.append(
            f"On the originals it is right on {percent(right['value'])}; always answering the commonest class would be "
            f"right on {percent(guess)}. A classifier that recognises next to nothing has no gap either."
        )
    if len(result["classes"]) == 1:
        found.append("There is one class, so a background of any class is one of its own: the gap says nothing.")
    elif len(result["classes"]) == 2:
        found.append("There are two classes, so a background of any class is of its own half of the time.")
    if result["masks"]["estimated"]:
        found.append(
            "The masks are estimated. Part of an object that a mask misses counts as background, and the gap may come "
            "out too small or too large for it."
        )
    return found


def commonest(result: Mapping[str, Any]) -> float | None:
    """Return the share of the commonest class among the images, None if there are no images."""
    counts = [of["images"] for of in result["classes"].values()]
    return max(counts) / sum(counts) if sum(counts) else None


def mask_sentences(result: Mapping[str, Any]) -> list[str]:
    """Return sentences on the origin of the masks and on how far they can be trusted."""
    masks = result["masks"]
    if not masks["estimated"]:
        whose = "are the data’s own" if masks["source"] == "true" else "were given beside the images"
        but = ", but for the faults below" if masks["faults"] else ""
        return [f"The masks {whose}. They were taken as they are{but}."]
    if masks["source"] == "centre":
        how = "The mask of every image is the quarter nearest to its middle; no image was looked at."
    else:
        how = f"The masks are estimated from the pictures by {masks['source']}; nobody has drawn them."
    return [
        how,
        "Where a mask misses a part of the object, that part stays in what is called background, and the classifier "
        "may be right there by looking at it: the background then seems to count for more. Where it takes in "
        "background, that goes with the object, and the background seems to count for less.",
        *([MEASURED] if masks["source"] == "saliency" else []),
        "Look at the pictures: if what is shown as the object is not the object, do not trust the figures. Masks drawn "
        "for some of the images and given by --masks PATH settle it.",
    ]


def quality_sentence(result: Mapping[str, Any]) -> str | None:
    """Return a sentence on what is known of estimated masks, which stands before the figures; None for others."""
    quality = result["masks"].get("quality")
    if quality is None:
        return None
    parts = [f"an object was found in {percent(quality['found'])} of {count(quality['images'], 'image')}"]
    if quality["share"] is not None:
        parts.append(f"a mask covers {percent(quality['share'], 0)} of the picture (median)")
    if quality["alone"] is not None:
        alone = percent(quality["alone"], 0)
        parts.append(f"of images answered right, {alone} are right with the masked object alone")
    return (
        f"First the masks, which are estimated by {result['masks']['source']} and which nobody has drawn: "
        f"{'; '.join(parts)}. Where the last is low, the masks miss objects or the classifier does not look at them."
    )


def perhaps(of: Mapping[str, Any]) -> str | None:
    """Return why nothing certain can be said of a class, because its masks are estimated; None for true masks."""
    masks = of.get("masks")
    if masks is None:
        return None
    return f"perhaps: {masks['why'] or 'masks are estimated'}"


def leaning(name: str, of: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """Return the background that a class leans on, and how often; None if no background stands out."""
    if of is None:
        return None
    own = of["kind"] == "class" and of["name"] == name
    what = "other objects on it" if of["kind"] == "class" else "its images"
    share = f"{percent(of['share'], 0)} of {what} are answered so, {percent(of['otherwise'], 0)} elsewhere"
    return ("its own" if own else str(of["name"])), share


def span(of: Interval | None, unit: str = f"{GAP}%") -> str:
    """Return the ends of an interval of shares, as "62.0 to 74.2 %"."""
    return "–" if of is None else interval(of["low"], of["high"], unit)
