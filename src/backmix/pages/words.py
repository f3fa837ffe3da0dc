"""Format numbers and names for sentences, and make any name safe to show on a page."""

from __future__ import annotations

import math
import unicodedata

from backmix.errors import some_of

LONGEST_NAME = 160
GAP = "\u00a0"  # A line may not break between a number and its unit.

# Characters that change the direction of the text around them, break it, or are no text. Joiners of letters are kept.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\ufeff")
_UNFIT = frozenset({"Cc", "Cs", "Cn", "Co"})


def visible(text: object, longest: int = LONGEST_NAME) -> str:
    """Return a name as it can be shown, with escapes such as \\n for some of its characters.

    Control characters, line breaks and marks that change the direction of text are written as escapes.

    Args:
        text: Any name, for example of a class or a path. It is not escaped for HTML; templates do that.
        longest: The number of characters above which the middle is left out, so that one name cannot fill a page.
    """
    whole = str(text)
    if len(whole) > longest:
        ahead = longest // 2
        whole = f"{whole[:ahead]} … {whole[ahead - longest :]}"
    return "".join(_spelled(letter) for letter in whole)


def quoted(text: object) -> str:
    """Return a name for plain text, for example an alternative text: visible, and isolated in its text direction."""
    return f"\u2068{visible(text)}\u2069"


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: "1 image", "12 images", "0 images"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(share: float | None, digits: int = 1, *, padded: bool = False) -> str:
    """Return a share as percent. The rounded figure is 0 or 100 only if the share is exactly 0 or 1.

    Args:
        share: The share, 0..1. If it is None or not finite, the result is a dash.
        digits: The number of digits after the point.
        padded: Whether a last digit of 0 is kept, as it should be in a column.
    """
    if share is None or not math.isfinite(share):
        return "–"
    value = 100 * share
    text = f"{value:.{digits}f}"
    least = 10.0**-digits
    if value > 0 and float(text) == 0:
        text = f"< {least:g}"
    elif value < 100 and float(text) == 100:
        text = f"> {100 - least:g}"
    return f"{text if padded else text.removesuffix('.0')}{GAP}%"


def hundredths(share: float | None) -> str:
    """Return a share times 100, for a column in a terminal or a text file: "87.5", and "-" for None."""
    return "-" if share is None else f"{100 * share:.1f}"


def plain_percent(share: float, *, padded: bool = True) -> str:
    """Return a share as percent for a terminal or a text file, as "87.5 %", with an ordinary space and plain rounding.

    Args:
        share: The share, usually 0..1.
        padded: Whether a last digit of 0 is kept.
    """
    text = hundredths(share)
    return f"{text if padded else text.removesuffix('.0')} %"


def signed(value: float, digits: int = 1) -> str:
    """Return a share or a difference of two shares, times 100, with a real minus sign; never "−0"."""
    text = f"{100 * value:.{digits}f}"
    return (text.removeprefix("-") if float(text) == 0 else text).replace("-", "−")


def number(value: float | None, digits: int = 3, *, padded: bool = False) -> str:
    """Return a number with the given number of significant digits and a real minus sign.

    Args:
        value: The number. If it is None or NaN, the result is a dash.
        digits: The number of significant digits.
        padded: Whether digits of 0 at the end are kept, as they should be in a column.
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:#.{digits}g}".rstrip(".") if padded else f"{value:.{digits}g}"
    return text.replace("-", "−")


def interval(low: float, high: float, unit: str = f"{GAP}%") -> str:
    """Return two shares, or differences of shares, as "78.1 to 87.5 %"."""
    return f"{signed(low)} to {signed(high)}{unit}"


def listed(names: list[str], most: int = 8) -> str:
    """Return names for a sentence: "a, b and c", "a, b and 7 more"."""
    if len(names) > most:
        return some_of(names, most)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _spelled(letter: str) -> str:
    if letter in _TURNING or unicodedata.category(letter) in _UNFIT:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(letter, f"\\u{ord(letter):04x}")
    return letter
