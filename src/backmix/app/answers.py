"""What the page answers to each thing that is done on it. Nothing in here knows how pages are made."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from backmix.app.acceptance import answers_at, rule_at
from backmix.app.markup import answer_card, answer_table, message, share_note, two_pictures
from backmix.app.pictures import Seen, look, look_at, picture_and_evidence, read_picture, uploads_in
from backmix.classifier import OpenSetClassifier
from backmix.data.images import ImageError
from backmix.pages.words import count, visible

NO_PICTURE = '<p class="bm-empty">Drop a picture, and the answer stands here.</p>'
NO_PICTURES = '<p class="bm-empty">Drop pictures, and a table of answers stands here.</p>'
OUR_FAULT = "This could not be answered. The window that backmix runs in says why."


class Answers:
    """Answers files at a share of known images to accept.

    Args:
        classifier: a trained one.
        folder: where uploads are kept; no other file is opened.
        max_pixels: width times height above which a picture is refused.
        max_files: how many are answered at once.
    """

    def __init__(self, classifier: OpenSetClassifier, folder: Path, *, max_pixels: int, max_files: int) -> None:
        self.classifier = classifier
        self.folder = folder
        self.max_pixels = max_pixels
        self.max_files = max_files
        self._network = threading.Lock()  # One at a time, whoever asks.

    def note(self, accept: float) -> str:
        """What a share comes to, as HTML."""
        return share_note(accept, rule_at(self.classifier, accept))

    def one(self, given: object, accept: float) -> tuple[Seen | None, str, str]:
        """Answer one picture.

        Args:
            given: the file, as `uploads_in` takes it.
            accept: share of known images to accept.

        Returns:
            What was seen, to be given to `card` for another share; the answer and the pictures as HTML.
        """
        try:
            uploads = uploads_in(given, self.folder)
            if not uploads:
                return None, NO_PICTURE, ""
            picture = read_picture(uploads[0], self.max_pixels)
            with self._network:
                seen = look_at(self.classifier, uploads[0], picture)
                plain, evidence = picture_and_evidence(self.classifier, picture)
            return seen, self.card(seen, accept), two_pictures(plain, evidence, seen.answer.top[0][0])
        except ImageError as error:
            return None, message(f"{visible(uploads[0].name)} cannot be used: {visible(error.reason, 400)}"), ""
        except Exception:  # The page goes on; what went wrong is for whoever runs it, paths and all.
            return None, _failed(), ""

    def many(
        self,
        given: object,
        accept: float,
        before: Sequence[Seen] = (),
        on_images: Callable[[int, int], object] | None = None,
    ) -> tuple[list[Seen], str]:
        """Answer several pictures.

        Args:
            given: the files, as `uploads_in` takes them.
            accept: share of known images to accept.
            before: what was seen already; such files are not run again.
            on_images: told how many of how many are done.

        Returns:
            What was seen, to be given to `table` for another share; the answers as HTML.
        """
        try:
            uploads = uploads_in(given, self.folder)
            there, left = uploads[: self.max_files], len(uploads) - self.max_files
            known = {seen.upload: seen for seen in before}
            new = [upload for upload in dict.fromkeys(there) if upload not in known]

            def told(done: int) -> None:
                if on_images is not None:
                    on_images(done, len(new))

            with self._network:
                known |= {
                    seen.upload: seen for seen in look(self.classifier, new, max_pixels=self.max_pixels, on_images=told)
                }
            seen = [known[upload] for upload in there]
            said = self.table(seen, accept)
            if left > 0:
                said = f"{message(_too_many(len(uploads), left))}{said}"
            return seen, said
        except Exception:
            return [], _failed()

    def card(self, seen: Seen | None, accept: float) -> str:
        """The answer for what `one` saw, at another share, as HTML."""
        if seen is None:
            return NO_PICTURE
        answer = answers_at(self.classifier, [seen.answer], accept)[0]
        return answer_card(answer, self.classifier.classes, rule_at(self.classifier, accept))

    def table(self, seen: Sequence[Seen], accept: float) -> str:
        """The answers for what `many` saw, at another share, as HTML."""
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
