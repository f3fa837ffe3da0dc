"""Write settings as YAML that YAML 1.1 and YAML 1.2 read alike, without references."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.nodes import ScalarNode

from backmix.data.yaml_scalars import is_text_for_all

# Line breaks, which PyYAML folds, and what it does not write as it is. In double quotes they become escapes.
_ESCAPED = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]")


def as_yaml(content: Any, *, in_one_line: bool = False) -> str:
    """Return dictionaries, lists, tuples, texts, numbers, truth values and None as YAML, in their order.

    A tuple is written as a list. A text that YAML 1.1 or YAML 1.2 would read as anything else is written in quotes.

    Args:
        content: What to write.
        in_one_line: Whether lists and dictionaries are written with brackets, and all in one line without its end.

    Raises:
        yaml.YAMLError: If there is anything else in it.
    """
    text: str = yaml.dump(
        content,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=in_one_line,
        width=2**31 if in_one_line else 80,
    )
    return text.splitlines()[0] if in_one_line else text


class _Dumper(yaml.SafeDumper):
    """A dumper that repeats objects instead of writing references, because `read_yaml` refuses references."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> ScalarNode:
    style = '"' if _ESCAPED.search(text) else None if is_text_for_all(text) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
