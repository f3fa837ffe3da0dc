"""Take the files out of a multipart upload as it arrives, without holding more of it than the last piece."""

from __future__ import annotations

from dataclasses import dataclass, field

FIELD = b"files"  # The field under which the page sends its files.
MOST_HEADER = 8192  # Bytes of the headers of one part.


class BrokenUpload(Exception):
    """The body is not multipart/form-data."""


@dataclass
class Part:
    """A file in an upload.

    Attributes:
        name: The name that the sender gives it, which can be any text.
        pieces: The bytes that came since `Parts.feed` was called last.
        whole: Whether its end has come.
    """

    name: str
    pieces: list[bytes] = field(default_factory=list)
    whole: bool = False


class Parts:
    """The parts of a multipart body, of which only the files of the page count. What else is sent is passed over.

    Args:
        content_type: The Content-Type of the request, which says what stands between two parts.

    Raises:
        BrokenUpload: If it is not the type of a multipart upload.

    Attributes:
        whole: Whether the end of the body has come.
    """

    def __init__(self, content_type: str) -> None:
        from python_multipart.multipart import MultipartParser, parse_options_header

        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise BrokenUpload("not multipart/form-data with a boundary")
        self.whole = False
        self._options = parse_options_header
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_key,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )
        self._changed: list[Part] = []
        self._part: Part | None = None
        self._begin()

    def feed(self, data: bytes) -> list[Part]:
        """Take the next bytes of the body, and return the files that began, went on or ended in them, in order.

        Raises:
            BrokenUpload: If the body is not multipart/form-data.
        """
        for part in self._changed:
            part.pieces.clear()
        self._changed = [] if self._part is None else [self._part]
        try:
            self._parser.write(data)
        except (ValueError, IndexError, UnicodeError) as error:  # The parser's own errors are ValueErrors.
            raise BrokenUpload(str(error)) from error
        return self._changed

    def _begin(self) -> None:
        self._part = None
        self._size = 0
        self._key = self._value = self._disposition = b""

    def _add_key(self, data: bytes, start: int, end: int) -> None:
        self._grow(end - start)
        self._key += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._grow(end - start)
        self._value += data[start:end]

    def _grow(self, more: int) -> None:
        self._size += more
        if self._size > MOST_HEADER:
            raise BrokenUpload("the headers of a part are too long")

    def _end_header(self) -> None:
        if self._key.lower() == b"content-disposition":
            self._disposition = self._value
        self._key = self._value = b""

    def _end_headers(self) -> None:
        _, options = self._options(self._disposition)
        if options.get(b"name") == FIELD and b"filename" in options:
            self._part = Part(options[b"filename"].decode("utf-8", "replace"))
            self._changed.append(self._part)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part is not None:
            self._part.pieces.append(data[start:end])

    def _end(self) -> None:
        if self._part is not None:
            self._part.whole = True
            self._part = None

    def _finish(self) -> None:
        self.whole = True
