"""Which images `backmix predict` is to answer: files, folders, patterns and lists, found one at a time."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from backmix.data.images import IMAGE_EXTENSIONS
from backmix.errors import DataError

_BLOCK = 65536
_LONGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A path to answer.

    Attributes:
        path: as given, or joined to a folder that was given.
        problem: why there is no image to open.
    """

    path: str
    problem: str | None = None


def find_images(
    paths: Iterable[str | os.PathLike[str]],
    *,
    recursive: bool = True,
    leave_out: str | os.PathLike[str] | None = None,
    stdin: BinaryIO | None = None,
) -> Iterator[Found]:
    """Paths in the order they are given; within folders and patterns in the order of their names.

    A file that is named comes whatever it is called, and so does one that does not exist: both are to get an answer.
    Of a folder come the files with the extension of an image. Hidden files and folders are passed over, and links to
    folders are not followed. A pattern (`*`, `?`, `[...]`, `**`) is one only where no file has this very name.

    Args:
        paths: files, folders, patterns, and "-" for a list on standard input.
        recursive: whether to enter the folders in folders.
        leave_out: a folder that is not entered.
        stdin: instead of standard input.

    Raises:
        DataError: when standard input is no list.
    """
    shut = None if leave_out is None else os.path.realpath(leave_out)
    for given in paths:
        path = os.fspath(given)
        if path == "-":
            for line in read_list(stdin or sys.stdin.buffer):
                yield from _expand(line, recursive, shut)
        elif _is_pattern(path) and not os.path.lexists(path):
            yield from _match_all(path, recursive, shut)
        else:
            yield from _expand(path, recursive, shut)


def read_list(stream: BinaryIO) -> Iterator[str]:
    """Paths of a list, one a line, or separated by NUL where there is one in the first 64 KiB.

    Lines may end as on Windows, and empty ones are passed over. A name with a line break needs NUL.

    Raises:
        DataError: for an entry that is far too long for a path.
    """
    block = stream.read(_BLOCK)
    separator = b"\0" if b"\0" in block else b"\n"
    if separator == b"\n":
        block = block.removeprefix(b"\xef\xbb\xbf")
    rest = b""
    while block:
        *whole, rest = (rest + block).split(separator)
        yield from _names_of(whole, separator)
        if len(rest) > _LONGEST:
            raise DataError(f"the list of paths has an entry of more than {_LONGEST} bytes, so it is no list of paths")
        block = stream.read(_BLOCK)
    yield from _names_of([rest], separator)


def _names_of(entries: list[bytes], separator: bytes) -> Iterator[str]:
    for entry in entries:
        name = entry.removesuffix(b"\r") if separator == b"\n" else entry
        if name:
            yield os.fsdecode(name)


def _expand(path: str, recursive: bool, shut: str | None) -> Iterator[Found]:
    # os.path.isdir does not raise for names that are too long or out of reach.
    return _walk(path, recursive, shut) if os.path.isdir(path) else iter([Found(path)])


def _walk(top: str, recursive: bool, shut: str | None) -> Iterator[Found]:
    folders = [top]
    while folders:
        folder = folders.pop()
        if shut is not None and os.path.realpath(folder) == shut:
            continue
        try:
            inside, files = _list(folder)
        except OSError as error:
            yield Found(folder, f"a folder that cannot be listed: {error.strerror or error}")
            continue
        yield from (Found(os.path.join(folder, name)) for name in files if _is_image(name))
        if recursive:
            folders += (os.path.join(folder, name) for name in reversed(inside))


def _match_all(pattern: str, recursive: bool, shut: str | None) -> Iterator[Found]:
    """What a pattern matches; folders that it matches are entered, unless it enters folders itself by `**`."""
    parts = [part for part in pattern.split(os.sep) if part]
    any_kind = bool(ending := os.path.splitext(parts[-1])[1]) and not _is_pattern(ending)
    deep = "**" in parts
    seen: set[str] | None = set() if parts.count("**") > 1 else None  # Such a pattern finds a file in several ways.
    found = False
    for path in _match(os.sep if pattern.startswith(os.sep) else "", parts):
        if os.path.isdir(path):
            if deep and parts[-1] != "**":
                continue
            matches = _walk(path, recursive or deep, shut)
        elif (any_kind or _is_image(path)) and not _lies_in(path, shut):
            matches = iter([Found(path)])
        else:
            continue
        for match in matches:
            found = True
            if seen is None or match.path not in seen:
                yield match
            if seen is not None:
                seen.add(match.path)
    if not found:
        yield Found(pattern, "no such file, and as a pattern it matches no image")


def _match(base: str, parts: list[str]) -> Iterator[str]:
    if not parts:
        yield base
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        while rest and rest[0] == "**":
            rest = rest[1:]
        yield from _match(base or os.curdir, rest) if not rest else _match(base, rest)
        if rest:
            for name in _names(base)[0]:
                yield from _match(os.path.join(base, name), ["**", *rest])
    elif _is_pattern(part):
        folders, files = _names(base, hidden=part.startswith("."))
        for name in sorted(folders if rest else folders + files):
            if fnmatch.fnmatchcase(name, part):
                yield from _match(os.path.join(base, name), rest)
    elif os.path.lexists(os.path.join(base, part)):
        yield from _match(os.path.join(base, part), rest)


def _names(folder: str, *, hidden: bool = False) -> tuple[list[str], list[str]]:
    try:
        return _list(folder or os.curdir, hidden=hidden)
    except OSError:
        return [], []


def _list(folder: str, *, hidden: bool = False) -> tuple[list[str], list[str]]:
    """Folders and files in a folder, by name."""
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not hidden and (entry.name.startswith(".") or entry.name == "__MACOSX"):
                continue
            if not _is_folder(entry):
                files.append(entry.name)
            elif not entry.is_symlink():
                folders.append(entry.name)
    return sorted(folders), sorted(files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def _lies_in(path: str, shut: str | None) -> bool:
    return shut is not None and os.path.realpath(path).startswith(os.path.join(shut, ""))
