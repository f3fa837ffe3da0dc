"""Answer each action on the page. This module does not depend on the library that builds the page."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from backmix.app.acceptance import answers_at, rule_at
from backmix.app.markup import answer_card, answer_table, message, share_note, two_pictures
from backmix.app.pictures import LARGE, Seen, Upload, look, look_at, picture_and_evidence, read_photo, uploads_in
from backmix.classifier import OpenSetClassifier
from backmix.data.images import ImageError
from backmix.pages.words import count, visible
from backmix.runs.refused import estimated_at

NO_PICTURE = '<p class="bm-empty">Drop a picture, and the answer stands here.</p>'
NO_PICTURES = '<p class="bm-empty">Drop pictures, and a table of answers stands here.</p>'
OUR_FAULT = "This could not be answered. The window that backmix runs in says why."


class Answers:
    """Answers to uploaded files, at a share of known images to accept.

    Args:
        classifier: A trained classifier.
        folder: The folder of the uploads. No file outside it is opened.
        max_pixels: The width times height above which a picture is refused.
        max_files: The largest number of files that are answered at once.
        refused: The estimated share of photographs of other things that is called unknown, by the share of known ones
            to accept.
        on_answered: A function that is called with the paths of files that are answered and not needed any more.
    """

    def __init__(
        self,
        classifier: OpenSetClassifier,
        folder: Path,
        *,
        max_pixels: int,
        max_files: int,
        refused: Mapping[float, float] | None = None,
        on_answered: Callable[[Sequence[str]], object] | None = None,
    ) -> None:
        self.refused = refused or {}
        self.on_answered = on_answered or (lambda paths: None)
        self.classifier = classifier
        self.folder = folder
        self.max_pixels = max_pixels
        self.max_files = max_files
        self._network = threading.Lock()  # Only one request at a time uses the network.

    def note(self, accept: float) -> str:
        """Return a note on the effect of a share, as HTML."""
        return share_note(accept, rule_at(self.classifier, accept), estimated_at(self.refused, accept))

    def one(self, given: object, accept: float) -> tuple[Seen | None, str, str]:
        """Answer one picture.

        Args:
            given: The file, as `uploads_in` takes it.
            accept: The share of known images to accept.

        Returns:
            The `Seen` file, which `card` takes for another share, or None without an answer; the answer as HTML; and
            the pictures as HTML.
        """
        uploads: list[Upload] = []
        try:
            uploads = uploads_in(given, self.folder)
            if not uploads:
                return None, NO_PICTURE, ""
            photo, square = read_photo(uploads[0], self.max_pixels, self.classifier, LARGE)
            with self._network:
                seen = look_at(self.classifier, uploads[0], photo)
                plain, evidence = picture_and_evidence(self.classifier, photo, square)
            return seen, self.card(seen, accept), two_pictures(plain, evidence, seen.answer.top[0][0])
        except ImageError as error:
            return None, message(f"{visible(uploads[0].name)} cannot be used: {visible(error.reason, 400)}"), ""
        except Exception:  # The page goes on; only the terminal shows the error.
            return None, _failed(), ""
        finally:
            self.on_answered([upload.path for upload in uploads])

    def many(
        self,
        given: object,
        accept: float,
        before: Sequence[Seen] = (),
        on_images: Callable[[int, int], object] | None = None,
    ) -> tuple[list[Seen], str]:
        """Answer several pictures.

        Args:
            given: The files, as `uploads_in` takes them.
            accept: The share of known images to accept.
            before: Files that were answered before. They are not run again.
            on_images: A function that is called with the number of files done so far and the number of files to do.

        Returns:
            The `Seen` files, which `table` takes for another share, and the answers as HTML.
        """
        try:
            uploads = uploads_in(given, self.folder)
            there, left = uploads[: self.max_files], len(uploads) - self.max_files
            known = {seen.upload: seen for seen in before}
            new = [upload for upload in dict.fromkeys(there) if upload not in known]

            def step(done: int) -> None:
                if on_images is not None:
                    on_images(done, len(new))

            with self._network:
                known |= {
                    seen.upload: seen for seen in look(self.classifier, new, max_pixels=self.max_pixels, on_images=step)
                }
            # A later request names these files again, and finds their answers in `before`.
            self.on_answered([upload.path for upload in new])
            seen = [known[upload] for upload in there]
            table = self.table(seen, accept)
            if left > 0:
                table = f"{message(_too_many(len(uploads), left))}{table}"
            return seen, table
        except Exception:
            return [], _failed()

    def card(self, seen: Seen | None, accept: float) -> str:
        """Return the answer for a file from `one`, at another share, as HTML."""
        if seen is None:
            return NO_PICTURE
        answer = answers_at(self.classifier, [seen.answer], accept)[0]
        return answer_card(answer, self.classifier.classes, rule_at(self.classifier, accept))

    def table(self, seen: Sequence[Seen], accept: float) -> str:
        """Return the answers for files from `many`, at another share, as HTML."""
        if not seen:
            return NO_PICTURES
        return answer_table(seen, answers_at(self.classifier, [one.answer for one in seen], accept))


def _failed() -> str:
    traceback.print_exc(file=sys.stderr)
    return message(OUR_FAULT)


def _too_many(number: int, left: int) -> str:
    return (
        f"{count(number, 'file')}, and this page answers {number - left} at once: the last {left} are left out. "
        "backmix predict takes any number."
    )
