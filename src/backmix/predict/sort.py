"""`--sort-into`: each image beside others of its answer. Nothing is moved, deleted or written over."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from backmix.predict.journal import Journal, OutputError, digest
from backmix.prediction.answer import UNKNOWN, Prediction

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Devices on Windows.


class Link(StrEnum):
    """How a file gets into its folder."""

    copy = "copy"
    hard = "hard"
    symbolic = "symbolic"


class Sorter:
    """Puts images into a folder a class, and one for unknown.

    Args:
        folder: of the folders; they are made when first needed.
        classes: names of the known classes.
        link: copy, or link.
        journal: told where each image goes before it is there, and knows what a session that was killed left.

    Attributes:
        gone: images that were answered and could not be read any more when they were to be copied.
    """

    def __init__(self, folder: Path, classes: Sequence[str], link: Link, journal: Journal) -> None:
        self._folder = folder
        self._link = link
        self._names = folder_names(classes)
        self._journal = journal
        self._numbers: dict[tuple[str, str], int] = {}  # The highest so far of names that came before.
        self.gone = 0

    def put(self, path: str, answer: Prediction) -> None:
        """Copy or link an image into the folder of its answer; an unreadable one stays where it is.

        A name that is taken gets a number: `cat.jpg`, `cat (2).jpg`.

        Args:
            path: of the image.
            answer: for it.

        Raises:
            OutputError: when it cannot be written there.
        """
        if answer.label is None:
            return
        inside = self._names[answer.label]
        try:
            self._take_back(path)
            os.makedirs(self._folder / inside, exist_ok=True)
            while True:
                target = self._free(inside, os.path.basename(path))
                self._journal.add_copy(path, target)
                try:
                    made = self._make(path, os.path.join(self._folder, target))
                except FileExistsError:  # Somebody else took the name just now.
                    self._journal.drop_copy(path, target)
                    continue
                if not made:
                    self._journal.drop_copy(path, target)
                    self.gone += 1
                return
        except OSError as error:
            hint = ", or take --link copy" if self._link is not Link.copy else ""
            raise OutputError(
                f"could not put an image into {self._folder / inside}: {error.strerror or error}. What was answered is "
                f"kept: put that right, then go on with --resume{hint}"
            ) from error

    def _take_back(self, path: str) -> None:
        """Remove what a session that was killed made of this image and gave no row."""
        for target in self._journal.copies.pop(digest(path), []):
            folder, name = os.path.split(target)
            made = os.path.join(self._folder, target)
            if folder in self._names.values() and name and self._is_ours(path, made):
                os.unlink(made)
            self._journal.drop_copy(path, target)

    def _is_ours(self, path: str, made: str) -> bool:
        """Whether a file is our copy of an image, or the beginning of one, or our link to it."""
        try:
            if self._link is Link.symbolic:
                return os.path.islink(made) and os.readlink(made) == os.path.abspath(path)
            if self._link is Link.hard or os.path.islink(made):
                return self._link is Link.hard and os.path.samefile(path, made)
            with open(path, "rb") as source, open(made, "rb") as copy:
                while block := copy.read(1 << 20):
                    if source.read(len(block)) != block:
                        return False
            return True
        except OSError:
            return False

    def _free(self, inside: str, name: str) -> str:
        """The name, or the name with the first number that is free."""
        key = (inside, name.casefold())
        number = self._numbers.get(key, 1)
        while os.path.lexists(self._folder / inside / (numbered := _numbered(name, number))):
            number += 1
        if number > 1:
            self._numbers[key] = number
        return os.path.join(inside, numbered)

    def _make(self, path: str, target: str) -> bool:
        """Whether the image was there to be copied or linked."""
        if self._link is Link.symbolic:
            os.symlink(os.path.abspath(path), target)
            return True
        try:
            source = open(path, "rb")  # noqa: SIM115  (Apart from the copying, whose errors are others.)
        except OSError:
            return False
        with source:
            if self._link is Link.hard:
                os.link(os.path.realpath(path), target)
                return True
            with open(target, "xb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
        with suppress(OSError):  # Times and rights, where the file system has them.
            shutil.copystat(path, target)
        return True


def folder_names(classes: Sequence[str]) -> dict[str, str]:
    """A folder name for each class and for "unknown" that every file system takes, no two of them alike.

    What separates folders, what Windows refuses, and invisible signs become `_`; `..`, device names and names that
    are too long are changed likewise.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in (UNKNOWN, *classes):
        name = _folder_name(label)
        # A table of the answers may lie beside the folders, under the name answers.csv or the like.
        number = 2 if name.casefold().startswith("answers.") else 1
        while (numbered := f"{name} ({number})" if number > 1 else name).casefold() in taken:
            number += 1
        taken.add(numbered.casefold())
        names[label] = numbered
    return names


def _folder_name(label: str) -> str:
    text = unicodedata.normalize("NFC", label)
    text = "".join("_" if sign in '/\\:*?"<>|' or not sign.isprintable() else sign for sign in text)
    text = text.encode("utf-8")[:200].decode("utf-8", "ignore").rstrip(". ")
    if text.startswith("."):
        text = "_" + text[1:]
    return text + "_" if not text or _RESERVED.fullmatch(text) else text


def _numbered(name: str, number: int) -> str:
    if number == 1:
        return name
    stem, ending = os.path.splitext(name)
    if len(ending) > 16:  # No ending, but a name with a dot.
        stem, ending = name, ""
    numbered = f" ({number}){ending}"
    room = 255 - len(os.fsencode(numbered))
    return os.fsdecode(os.fsencode(stem)[:room]) + numbered
