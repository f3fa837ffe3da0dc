"""The image formats that are read here, the extensions of their files, and the kinds that are not read."""

from __future__ import annotations

import importlib
import importlib.util
import os
import struct
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import BinaryIO

from PIL import features

# MPO is not in the list, because Pillow reads an MPO file as the JPEG at its start.
_ALWAYS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
_PLUGINS = {"HEIF": "pillow_heif", "JXL": "pillow_jxl"}
"""Formats of phones, and the modules that bring them: pip install 'backmix[formats]'."""

_EXTENSIONS = {
    "JPEG": "jpg jpeg jpe jfif mpo",
    "PNG": "png apng",
    "GIF": "gif",
    "BMP": "bmp",
    "WEBP": "webp",
    "TIFF": "tif tiff",
    "PPM": "ppm pgm pbm pnm",
    "AVIF": "avif",
    "HEIF": "heic heif hif",
    "JXL": "jxl",
}
_RAW = "cr2 cr3 crw nef nrw arw srf sr2 dng orf rw2 raf pef srw rwl 3fr iiq erf mef mos mrw x3f raw"
_OTHER = "jp2 j2k jpx jpf jxr wdp hdp psd psb svg tga ico exr hdr dds pcx fits fit dcm dicom czi lif nd2 oib vsi lsm"
_NEVER = frozenset(f".{name}" for names in (_RAW, _OTHER) for name in names.split())
"""The extensions of raw photographs and other images that are not read here."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2")
_JPEG_XL = b"\0\0\0\x0cJXL \r\n\x87\n"


def _is_available(format_: str) -> bool:
    if format_ in _PLUGINS:
        return importlib.util.find_spec(_PLUGINS[format_]) is not None
    return format_ in _ALWAYS or format_.lower() in features.get_supported()


_AVAILABLE = frozenset(name for name in _EXTENSIONS if _is_available(name))

IMAGE_EXTENSIONS = frozenset(f".{name}" for format_ in _AVAILABLE for name in _EXTENSIONS[format_].split())
"""The file extensions of images that can be read here, in lower case."""

_MISSING = frozenset(
    f".{name}" for format_ in _PLUGINS if format_ not in _AVAILABLE for name in _EXTENSIONS[format_].split()
)
_NOT_READ = (_NEVER | {f".{name}" for names in _EXTENSIONS.values() for name in names.split()}) - IMAGE_EXTENSIONS


class MissingPluginError(ValueError):
    """An image is of a format whose plugin is not installed; the text says what to install."""


def formats() -> list[str]:
    """Return the formats that Pillow is allowed to try. Those of plugins are among them once they are loaded."""
    return [name for name in _EXTENSIONS if name in _AVAILABLE and (name not in _PLUGINS or name in _loaded)]


_loaded: set[str] = set()


def load_plugin(file: BinaryIO) -> None:
    """Load the plugin that reads a file, if it needs one. The file is at its start afterwards.

    Raises:
        MissingPluginError: If the plugin is not installed.
    """
    file.seek(0)
    begin = file.read(12)
    file.seek(0)
    if begin[4:8] == b"ftyp" and begin[8:12] in _HEIF_BRANDS:
        needed, what = "HEIF", "a HEIC photograph"
    elif _is_jpeg_xl(begin):
        needed, what = "JXL", "a JPEG XL image"
    else:
        return
    if needed not in _AVAILABLE:
        raise MissingPluginError(f"{what}, which needs a further package: pip install 'backmix[formats]'")
    _load(needed)


@cache
def _load(format_: str) -> None:
    module = importlib.import_module(_PLUGINS[format_])
    if format_ == "HEIF":
        module.register_heif_opener()
    _loaded.add(format_)


def _is_jpeg_xl(begin: bytes) -> bool:
    return begin[:2] == b"\xff\x0a" or begin[:12] == _JPEG_XL


def jpeg_xl_size(file: BinaryIO) -> tuple[int, int] | None:
    """Return width and height in the header of a JPEG XL file; None if it is of another format.

    Source: ISO/IEC 18181-1, SizeHeader; ISO/IEC 18181-2 for the boxes.

    Raises:
        ValueError: If the header is cut off.
    """
    file.seek(0)
    begin = file.read(12)
    if not _is_jpeg_xl(begin):
        file.seek(0)
        return None
    at = 0 if begin[:2] == b"\xff\x0a" else _codestream(file)
    file.seek(at + 2)
    head = int.from_bytes(file.read(16), "little")
    file.seek(0)

    def take(bits: int) -> int:
        nonlocal head
        found, head = head & ((1 << bits) - 1), head >> bits
        return found

    small = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = take(3)
    up, down = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    return (side() if ratio == 0 else height * up // down), height


def _codestream(file: BinaryIO) -> int:
    """Return where the codestream of a JPEG XL file of boxes begins."""
    at = 12
    while True:
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            raise ValueError("there is no picture in it")
        length, kind = struct.unpack(">I4s", head[:8])
        begin = 8
        if length == 1 and len(head) == 16:
            length, begin = struct.unpack(">Q", head[8:])[0], 16
        if kind in (b"jxlc", b"jxlp"):
            return at + begin + (4 if kind == b"jxlp" else 0)
        if length < begin:
            raise ValueError("there is no picture in it")
        at += length


def passed_over(names: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return sentences about files that are not read because of their extension; empty if there are none.

    Args:
        names: The names or paths of files that do not have one of `IMAGE_EXTENSIONS`.
    """
    return passed_over_kinds(os.path.splitext(os.fspath(name))[1].lower() for name in names)


def passed_over_kinds(extensions: Iterable[str]) -> list[str]:
    """Return the sentences of `passed_over` for the extensions of files, in lower case, as in ".heic"."""
    kinds = Counter(extensions)
    images = {kind: count for kind, count in kinds.items() if kind in _NOT_READ}
    others = {kind: count for kind, count in kinds.items() if kind not in images}
    notes = []
    if images:
        total = sum(images.values())
        text = f"{_files(total)} of {'a kind' if len(images) == 1 else 'kinds'} that cannot be read: {_counted(images)}"
        if able := sorted(kind for kind in images if kind in _MISSING):
            text += f"; pip install 'backmix[formats]' brings {', '.join(able)}"
        notes.append(text)
    if others:
        are = "is no image" if sum(others.values()) == 1 else "are not images"
        notes.append(f"{_files(sum(others.values()))} {are} by the extension: {_counted(others)}")
    return notes


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _counted(kinds: dict[str, int], most: int = 6) -> str:
    ordered = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    shown = ", ".join(f"{kind or 'no extension'} ({count})" for kind, count in ordered[:most])
    return shown if len(ordered) <= most else f"{shown} and {len(ordered) - most} more kinds"
