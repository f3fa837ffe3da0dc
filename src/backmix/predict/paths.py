"""Find the images that `backmix predict` answers, one at a time, from files, folders, patterns and lists."""

from __future__ import annotations

import codecs
import fnmatch
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from backmix.data.entries import is_image, is_passed_over
from backmix.errors import DataError

_BLOCK = 65536
_LONGEST = 1 << 20
# The mark of UTF-32 begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_LISTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"PK\x03\x04")


@dataclass(frozen=True, slots=True)
class Found:
    """A path that gets an answer.

    Attributes:
        path: The path as given, or the name of a file joined to the folder that was given.
        problem: The reason why there is no image to open, or None if the image is to be opened.
    """

    path: str
    problem: str | None = None


def find_images(
    paths: Iterable[str | os.PathLike[str]],
    *,
    recursive: bool = True,
    leave_out: str | os.PathLike[str] | None = None,
    stdin: BinaryIO | None = None,
    passed: list[str] | None = None,
) -> Iterator[Found]:
    """Yield the images in the order of the given paths; images of one folder or pattern are sorted by name.

    A file that is given by name is yielded whatever its extension is, even if it does not exist, so that it gets an
    answer. A folder yields the files that have the extension of an image. Hidden files and folders are skipped, and
    links to folders are not followed. A path with `*`, `?`, `[...]` or `**` is a pattern only if no file has exactly
    this name.

    Args:
        paths: Files, folders, patterns, and "-" for a list on standard input.
        recursive: Whether to enter the folders inside folders.
        leave_out: A folder that is not entered.
        stdin: A stream to read instead of standard input.
        passed: A list that is extended by the extensions of the files that are passed over, as in ".heic"; each file
            counts once for each time that its folder is read.

    Raises:
        DataError: If standard input is not a list of paths.
        TypeError: If one path is given that is not in a list.
    """
    if isinstance(paths, (str, bytes, os.PathLike)):  # Each letter would be a path, and "/" the whole disk.
        raise TypeError(f"find_images takes several paths; put this one into a list: [{paths!r}]")
    return _find(paths, recursive, leave_out, stdin, passed)


def _find(
    paths: Iterable[str | os.PathLike[str]],
    recursive: bool,
    leave_out: str | os.PathLike[str] | None,
    stdin: BinaryIO | None,
    passed: list[str] | None,
) -> Iterator[Found]:
    shut = None if leave_out is None else os.path.realpath(leave_out)
    for given in paths:
        path = os.fspath(given)
        if path == "-":
            for line in read_list(stdin or sys.stdin.buffer):
                yield from _expand(line, recursive, shut, passed)
        elif _is_pattern(path) and not os.path.lexists(path):
            yield from _match_all(path, recursive, shut, passed)
        else:
            yield from _expand(path, recursive, shut, passed)


def read_list(stream: BinaryIO) -> Iterator[str]:
    """Yield the paths of a list, one a line, or separated by NUL if the first 64 KiB contain a NUL.

    Lines may end as on Windows, and empty lines are skipped. A list with a line break in a name must use NUL. A list in
    UTF-16 or UTF-32, as PowerShell and spreadsheets write it, is decoded where it begins with its byte order mark.

    Raises:
        DataError: If an entry is far too long for a path, or the content is an image, an archive, or UTF-16 without a
            mark.
    """
    block = stream.read(_BLOCK)
    if encoding := next((name for mark, name in _MARKS if block.startswith(mark)), None):
        yield from _decoded(block, stream, encoding)
        return
    if block.startswith(_NO_LISTS):
        raise DataError("standard input is an image or an archive; give a list of paths, one a line")
    if _looks_wide(block):
        raise DataError("the list of paths looks like UTF-16 without its mark; write it as UTF-8, or with a mark")
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


def _decoded(block: bytes, stream: BinaryIO, encoding: str) -> Iterator[str]:
    """Yield the lines of a list in a wide encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    rest = ""
    try:
        while block:
            *whole, rest = (rest + decoder.decode(block)).split("\n")
            yield from (line.removesuffix("\r") for line in whole if line.removesuffix("\r"))
            if len(rest) > _LONGEST:
                raise DataError(f"the list of paths has an entry of more than {_LONGEST} letters, so it is no list")
            block = stream.read(_BLOCK)
        rest += decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DataError(f"the list of paths begins like {encoding.upper()} and is not: {error.reason}") from None
    if rest.removesuffix("\r"):
        yield rest.removesuffix("\r")


def _looks_wide(block: bytes) -> bool:
    """Return whether every other byte is nearly always NUL, as in plain letters in UTF-16."""
    even, odd = block[::2].count(0), block[1::2].count(0)
    half = len(block) // 2
    return half >= 8 and max(even, odd) > 0.5 * half and min(even, odd) < 0.05 * half


def _names_of(entries: list[bytes], separator: bytes) -> Iterator[str]:
    for entry in entries:
        name = entry.removesuffix(b"\r") if separator == b"\n" else entry
        if name:
            yield os.fsdecode(name)


def _expand(path: str, recursive: bool, shut: str | None, passed: list[str] | None) -> Iterator[Found]:
    # os.path.isdir does not raise an error for a name that is too long or inaccessible.
    return _walk(path, recursive, shut, passed) if os.path.isdir(path) else iter([Found(path)])


def _walk(top: str, recursive: bool, shut: str | None, passed: list[str] | None) -> Iterator[Found]:
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
        for name in files:
            if is_image(name):
                yield Found(os.path.join(folder, name))
            elif passed is not None:
                passed.append(os.path.splitext(name)[1].lower())
        if recursive:
            folders += (os.path.join(folder, name) for name in reversed(inside))


def _match_all(pattern: str, recursive: bool, shut: str | None, passed: list[str] | None) -> Iterator[Found]:
    """Yield the images that a pattern matches. A matching folder is entered, unless `**` enters it anyway."""
    parts = [part for part in pattern.split(os.sep) if part]
    any_kind = bool(ending := os.path.splitext(parts[-1])[1]) and not _is_pattern(ending)
    deep = "**" in parts
    seen: set[str] | None = set() if parts.count("**") > 1 else None  # With several `**` a file is found several times.
    found = False
    for path in _match(os.sep if pattern.startswith(os.sep) else "", parts):
        if os.path.isdir(path):
            if deep and parts[-1] != "**":
                continue
            matches = _walk(path, recursive or deep, shut, passed)
        elif (any_kind or is_image(path)) and not _lies_in(path, shut):
            matches = iter([Found(path)])
        else:
            if passed is not None and not is_image(path):
                passed.append(os.path.splitext(path)[1].lower())
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
    """Return the folders and the files in a folder, each sorted by name."""
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not hidden and is_passed_over(entry.name):
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


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def _lies_in(path: str, shut: str | None) -> bool:
    return shut is not None and os.path.realpath(path).startswith(os.path.join(shut, ""))
