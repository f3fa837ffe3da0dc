"""Sort images into folders by their answers, for `--sort-into`. Images are never moved, deleted or overwritten."""

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

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Names of devices on Windows.


class Link(StrEnum):
    """The way in which an image gets into its folder."""

    copy = "copy"
    hard = "hard"
    symbolic = "symbolic"


class Sorter:
    """A sorter that puts images into one folder for each class and one for unknown.

    Args:
        folder: The folder that holds these folders; each is made when it is first needed.
        classes: The names of the known classes.
        link: Whether to copy the images, or the kind of link to make.
        journal: The journal that records each target before the image is there, and that lists the copies which a
            killed session left.

    Attributes:
        gone: The number of images that were answered, but could no longer be read when they were to be copied.
    """

    def __init__(self, folder: Path, classes: Sequence[str], link: Link, journal: Journal) -> None:
        self._folder = folder
        self._link = link
        self._names = folder_names(classes)
        self._journal = journal
        self._numbers: dict[tuple[str, str], int] = {}  # The highest number given so far to a name.
        self.gone = 0

    def put(self, path: str, answer: Prediction) -> None:
        """Copy or link an image into the folder of its answer; an unreadable one stays where it is.

        A name that is taken gets a number: `cat.jpg`, `cat (2).jpg`.

        Args:
            path: The path of the image.
            answer: The answer for the image.

        Raises:
            OutputError: If the image cannot be put into the folder.
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
                except FileExistsError:  # Another program has just taken the name.
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
        """Remove the copies of this image that a killed session made without writing a row."""
        for target in self._journal.copies.pop(digest(path), []):
            folder, name = os.path.split(target)
            made = os.path.join(self._folder, target)
            if folder in self._names.values() and name and self._is_ours(path, made):
                os.unlink(made)
            self._journal.drop_copy(path, target)

    def _is_ours(self, path: str, made: str) -> bool:
        """Return whether a file is our copy of an image, the beginning of a copy, or our link to the image."""
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
        """Return the target with this name, or with the first free number added to it."""
        key = (inside, name.casefold())
        number = self._numbers.get(key, 1)
        while os.path.lexists(self._folder / inside / (numbered := _numbered(name, number))):
            number += 1
        if number > 1:
            self._numbers[key] = number
        return os.path.join(inside, numbered)

    def _make(self, path: str, target: str) -> bool:
        """Copy or link the image, and return True; return False if the image cannot be read."""
        if self._link is Link.symbolic:
            os.symlink(os.path.abspath(path), target)
            return True
        try:
            source = open(path, "rb")  # noqa: SIM115  (Its errors differ from errors of the copying.)
        except OSError:
            return False
        with source:
            if self._link is Link.hard:
                os.link(os.path.realpath(path), target)
                return True
            with open(target, "xb") as file:
                try:
                    shutil.copyfileobj(source, file, 1 << 20)
                    file.flush()
                except BaseException:
                    with suppress(OSError):  # A half picture would stand there.
                        os.unlink(target)
                    raise
        with suppress(OSError):  # Copy times and permissions if the file system has them.
            shutil.copystat(path, target)
        return True


def folder_names(classes: Sequence[str]) -> dict[str, str]:
    """Return a folder name for each class and for "unknown". All names differ, and every file system accepts them.

    Path separators, characters that Windows refuses, and invisible characters become `_`. `..`, device names and
    names that are too long are changed too.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in (UNKNOWN, *classes):
        name = _folder_name(label)
        # The file of answers may lie beside the folders as answers.csv, or with the ending of another format.
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
    if len(ending) > 16:  # So long an ending is a part of the name.
        stem, ending = name, ""
    numbered = f" ({number}){ending}"
    room = 255 - len(os.fsencode(numbered))
    return os.fsdecode(os.fsencode(stem)[:room]) + numbered
