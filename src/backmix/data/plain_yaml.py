"""Read YAML from anywhere in bounded time: texts, numbers, truth values, lists and dictionaries, nothing else.

The text is read as a stream of events, and reading stops at the first one beyond a limit. Anchors and references, tags
of other kinds, directives and second documents are refused, because no file of settings needs them and each can be made
to cost much time or memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from backmix.data.yaml_scalars import Plain, core_value


class YamlError(ValueError):
    """A text is not the plain YAML that is read here. The message names the line, what was found and what to do."""


@dataclass(frozen=True)
class YamlLimits:
    """What is read at most.

    Attributes:
        size: In bytes of UTF-8.
        nodes: The number of scalars, lists and dictionaries together.
        depth: The number of lists and dictionaries around a value.
    """

    size: int
    nodes: int
    depth: int


LIMITS = YamlLimits(size=2**20, nodes=50_000, depth=50)
PYTHON_LIMITS = YamlLimits(size=2**18, nodes=10_000, depth=50)
"""Where PyYAML reads without libyaml, which takes about ten times as long."""

_BREAKS = "\n\r\x85\u2028\u2029"  # What both parsers count as the end of a line.
_DIRECTIVE = re.compile(rf"(?:\A\ufeff?|[{_BREAKS}])%")
_STRANGE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HALF_CHARACTER = re.compile(r"\\(?:u|U0000)[dD][89a-fA-F]")  # A byte of a name of a file that is not UTF-8.
_CORE = "tag:yaml.org,2002:"
_KINDS: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
}


def yaml_text(path: Path) -> str:
    """Return the text of a file for `read_yaml`.

    Raises:
        OSError: If the file cannot be read.
        YamlError: If it is too large or is not UTF-8.
    """
    with open(path, "rb") as file:
        content = file.read(LIMITS.size + 1)
    if len(content) > LIMITS.size:
        raise YamlError(_too_large(LIMITS))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise YamlError(f"line {line}: found bytes that are not UTF-8. Save the file as UTF-8.") from error


def read_yaml(text: str, scalar: Callable[[str], Plain] = core_value) -> Any:
    """Return the content of a YAML text: None, truth values, numbers, texts, lists and dictionaries.

    Args:
        text: One document, or nothing, which is None. Keys are texts, and no key stands twice.
        scalar: What gives a bare scalar its value, see `backmix.data.yaml_scalars`.

    Raises:
        YamlError: If it is beyond a limit, is not YAML, or holds anything else.
    """
    parser, limits = _parser(text)
    _check_text(text, limits)
    try:
        return _Builder(scalar, limits).build(yaml.parse(text, Loader=parser))
    except YamlError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(f"line {mark.line + 1 if mark else 1}: {said}. Correct the line.") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # Of escapes that stand for no character.
        raise YamlError(f"found what is not YAML: {error}. Correct it.") from error


def _parser(text: str) -> tuple[Any, YamlLimits]:
    """Return the parser for a text, and what it may read. libyaml refuses half characters, which old runs may hold."""
    fast = getattr(yaml, "CSafeLoader", None)
    return (yaml.SafeLoader, PYTHON_LIMITS) if fast is None or _HALF_CHARACTER.search(text) else (fast, LIMITS)


def _check_text(text: str, limits: YamlLimits) -> None:
    """Refuse what would cost a parser time before its first event, and characters that YAML does not allow."""
    if len(text.encode("utf-8", "surrogatepass")) > limits.size:
        raise YamlError(_too_large(limits))
    if found := _STRANGE.search(text):
        raise YamlError(
            f"line {_line(text, found.start())}: found the character U+{ord(found[0]):04X}, which YAML does not allow. "
            "Leave it out, or write it in double quotes as an escape."
        )
    if found := _DIRECTIVE.search(text):
        raise YamlError(
            f"line {_line(text, found.end())}: found a line that begins with %, a directive; expected settings alone. "
            "Leave the line out."
        )


def _line(text: str, position: int) -> int:
    return len(re.findall(rf"\r\n|[{_BREAKS}]", text[:position])) + 1


def _too_large(limits: YamlLimits) -> str:
    return f"found more than {limits.size // 1024:,} KiB; expected less. {_SHORTEN}{_slow(limits)}"


def _slow(limits: YamlLimits) -> str:
    return "" if limits == LIMITS else " More is read where PyYAML has libyaml and all names are UTF-8."


_SHORTEN = "Keep only the settings in it."


@dataclass
class _Collection:
    """A list or a dictionary that is being read."""

    content: Any
    key: str | None = None
    lines: dict[str, int] = field(default_factory=dict)  # The line of each key.


class _Builder:
    """Build values from the events of a parser, and stop at the first event that is too much.

    Args:
        scalar: What gives a bare scalar its value.
        limits: What is built at most.
    """

    def __init__(self, scalar: Callable[[str], Plain], limits: YamlLimits) -> None:
        self.scalar, self.limits = scalar, limits
        self.open: list[_Collection] = []
        self.nodes = self.documents = 0
        self.root: Any = None

    def build(self, events: Iterable[Any]) -> Any:
        """Return the value that the events describe."""
        for event in events:
            if isinstance(event, yaml.NodeEvent):
                self._take(event, _first_line(event))
            elif isinstance(event, yaml.CollectionEndEvent):
                self.open.pop()
            elif isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    raise YamlError(
                        f"line {_first_line(event)}: found a second document (---); expected one. Leave the others out."
                    )
        return self.root

    def _take(self, event: Any, line: int) -> None:
        """Add the scalar, the list or the dictionary that an event begins to what is open."""
        if event.anchor is not None:
            sign, kind = ("*", "a reference") if isinstance(event, yaml.AliasEvent) else ("&", "an anchor")
            found = f"{_shown(sign + event.anchor)}, {kind}"
            raise YamlError(f"line {line}: found {found}; expected a value. Write the value itself.")
        self.nodes += 1
        if self.nodes > self.limits.nodes:
            raise YamlError(
                f"line {line}: found more than {self.limits.nodes:,} values; expected fewer. "
                f"{_SHORTEN}{_slow(self.limits)}"
            )
        parent = self.open[-1] if self.open else None
        is_key = parent is not None and isinstance(parent.content, dict) and parent.key is None
        if isinstance(event, yaml.ScalarEvent):
            value = self._value(event, line)
        elif is_key:
            raise YamlError(f"line {line}: found a list or a dictionary as a key; expected a name.")
        else:
            value = self._collection(event, line)
        if parent is None:
            self.root = value
        elif is_key:
            self._begin_entry(parent, value, event.value, line)
        elif parent.key is not None:
            parent.content[parent.key], parent.key = value, None
        else:
            parent.content.append(value)
        if not isinstance(event, yaml.ScalarEvent):
            self.open.append(_Collection(value))

    def _begin_entry(self, parent: _Collection, key: Plain, written: str, line: int) -> None:
        if not isinstance(key, str):
            raise YamlError(
                f"line {line}: found the key {_shown(written)}, which is read as {_kind(key)}; expected a name. "
                "Write it in quotes if it is one."
            )
        if key in parent.lines:
            raise YamlError(
                f"line {line}: found the key {_shown(key)} twice, first in line {parent.lines[key]}; expected it once. "
                "Leave one of them out."
            )
        parent.key, parent.lines[key] = key, line

    def _value(self, event: Any, line: int) -> Plain:
        text: str = event.value
        try:
            if event.tag is None:
                return self.scalar(text) if event.implicit[0] else text
            kind = event.tag.removeprefix(_CORE)
            if event.tag == _CORE + "str":
                return text
            if event.tag != _CORE + kind or kind not in _KINDS:
                raise YamlError(_strange_tag(event.tag, line))
            value = core_value(text)
        except YamlError:
            raise
        except ValueError as error:
            raise YamlError(f"line {line}: found {error}. Write it in quotes if it is a text.") from error
        if type(value) not in _KINDS[kind]:
            raise YamlError(f"line {line}: found {_shown(text)}, which is no !!{kind}. Leave !!{kind} out.")
        return float(value) if kind == "float" and value is not None else value

    def _collection(self, event: Any, line: int) -> Any:
        is_list = isinstance(event, yaml.SequenceStartEvent)
        if event.tag not in (None, _CORE + ("seq" if is_list else "map")):
            raise YamlError(_strange_tag(event.tag, line))
        if len(self.open) >= self.limits.depth:
            raise YamlError(
                f"line {line}: found more than {self.limits.depth} lists and dictionaries in one another; expected "
                "fewer. Close the brackets, or indent less."
            )
        return [] if is_list else {}


def _first_line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


def _strange_tag(tag: str, line: int) -> str:
    return (
        f"line {line}: found the tag {_shown(tag)}; expected a text, a number, true, false, null, a list or a "
        "dictionary. Leave the tag out."
    )


def _kind(value: Plain) -> str:
    return "null" if value is None else "a truth value" if isinstance(value, bool) else "a number"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")
