"""Numbers and names as they stand in sentences, and names that no one chose with a web page in mind."""

from __future__ import annotations

import math
import unicodedata

from backmix.errors import some_of

LONGEST_NAME = 160
GAP = "\u00a0"  # Between a number and its sign no line may break.

# They turn the text around them, break it, or are no text; what letters are joined with stays.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\ufeff")
_UNFIT = frozenset({"Cc", "Cs", "Cn", "Co"})


def visible(text: object, longest: int = LONGEST_NAME) -> str:
    """A name as it can be shown: control characters, line breaks and marks that turn text around are spelled out.

    Args:
        text: any name, a class or a path; it is not escaped for HTML, which is the template's part.
        longest: characters above which the middle is left out, so that one name cannot fill a page.
    """
    whole = str(text)
    if len(whole) > longest:
        ahead = longest // 2
        whole = f"{whole[:ahead]} … {whole[ahead - longest :]}"
    return "".join(_spelled(letter) for letter in whole)


def quoted(text: object) -> str:
    """A name for plain text such as an alternative text: visible, and kept apart from the direction around it."""
    return f"\u2068{visible(text)}\u2069"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 image", "12 images", "0 images"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(share: float | None, digits: int = 1, *, padded: bool = False) -> str:
    """A share as percent; a rounded figure is 0 or 100 only where the share is.

    Args:
        share: 0..1; None or not finite: a dash.
        digits: behind the point.
        padded: whether a last digit of 0 is kept, as it should be in a column.
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
    """A share times 100, for a column of percents in a terminal or a text file: "87.5", and "-" for None."""
    return "-" if share is None else f"{100 * share:.1f}"


def plain_percent(share: float, *, padded: bool = True) -> str:
    """A share as percent in a terminal or a text file, "87.5 %": a common space, and rounded without more ado.

    Args:
        share: usually 0..1.
        padded: whether a last digit of 0 is kept.
    """
    text = hundredths(share)
    return f"{text if padded else text.removesuffix('.0')} %"


def signed(value: float, digits: int = 1) -> str:
    """A share or a difference of two, times 100, with a real minus sign; never "−0"."""
    text = f"{100 * value:.{digits}f}"
    return (text.removeprefix("-") if float(text) == 0 else text).replace("-", "−")


def number(value: float | None, digits: int = 3, *, padded: bool = False) -> str:
    """A number with so many significant digits and a real minus sign.

    Args:
        value: None or NaN: a dash.
        digits: significant ones.
        padded: whether digits of 0 at the end are kept, as they should be in a column.
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:#.{digits}g}".rstrip(".") if padded else f"{value:.{digits}g}"
    return text.replace("-", "−")


def interval(low: float, high: float, unit: str = f"{GAP}%") -> str:
    """Two shares, or differences of shares, as "78.1 to 87.5 %"."""
    return f"{signed(low)} to {signed(high)}{unit}"


def listed(names: list[str], most: int = 8) -> str:
    """Names in a sentence: "a, b and c", "a, b and 7 more"."""
    if len(names) > most:
        return some_of(names, most)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _spelled(letter: str) -> str:
    if letter in _TURNING or unicodedata.category(letter) in _UNFIT:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(letter, f"\\u{ord(letter):04x}")
    return letter
