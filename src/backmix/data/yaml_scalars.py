"""What a bare word of a YAML file stands for, by the core schema of YAML 1.2 and by what earlier versions wrote.

YAML 1.1, which PyYAML reads, knows more such words: `no`, `1:30` and `1_000` are a truth value and two numbers there,
and texts in YAML 1.2. In turn `1e-1` and `0o17` are texts there, and numbers in YAML 1.2.
"""

from __future__ import annotations

import re

import yaml

MOST_DIGITS = 400
"""The most characters of a number. Python takes time that grows with their square to read a whole number."""

Plain = bool | int | float | str | None

_WORDS: dict[str, Plain] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{f"{sign}.{inf}": float(f"{sign}inf") for sign in ("", "+", "-") for inf in ("inf", "Inf", "INF")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INT = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_BEGINS_A_NUMBER = frozenset("+-.0123456789")
_TRUTHS_OF_SOME = frozenset("yYnN")  # YAML 1.1 reads them as truth values; PyYAML does not.
_RESOLVER = yaml.resolver.Resolver()


def core_value(text: str) -> Plain:
    """Return the value of a bare scalar by the core schema of YAML 1.2 (YAML 1.2.2, section 10.3.2).

    Raises:
        ValueError: If it is a number of more than `MOST_DIGITS` characters.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _BEGINS_A_NUMBER:
        return text
    whole, based = _INT.fullmatch(text), _OTHER_BASE.fullmatch(text)
    if not (whole or based or _FLOAT.fullmatch(text)):
        return text
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} characters; expected at most {MOST_DIGITS}")
    return int(text) if whole else int(text, 0) if based else float(text)


def written_value(text: str) -> Plain:
    """Return the value of a bare scalar of a file that backmix wrote, in whatever version.

    Version 0.1.0 wrote by YAML 1.1, which leaves a text such as `1e-1` bare. What is written today is read alike by
    both. So a bare scalar that YAML 1.1 reads as a text was a text.

    Raises:
        ValueError: If it is a number of more than `MOST_DIGITS` characters.
    """
    return text if _text_in_1_1(text) else core_value(text)


def text_of(text: str) -> str:
    """Return a bare scalar as it stands, for files in which every value is a text."""
    return text


def is_text_for_all(text: str) -> bool:
    """Return whether a text may be written bare, because YAML 1.1 and YAML 1.2 both read it as this text."""
    if text in _TRUTHS_OF_SOME or not _text_in_1_1(text):
        return False
    number = _INT.fullmatch(text) or _OTHER_BASE.fullmatch(text) or _FLOAT.fullmatch(text)
    return not number and text not in _WORDS


def _text_in_1_1(text: str) -> bool:
    kind = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return bool(kind == "tag:yaml.org,2002:str")
