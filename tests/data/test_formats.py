import io
import struct

import numpy as np
import pytest
from PIL import Image

from backmix.data import formats
from backmix.data.formats import IMAGE_EXTENSIONS, jpeg_xl_size, passed_over
from backmix.data.images import ImageError, open_image

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
JXL = b"\xff\x0a"


def jxl_header(*fields):
    """Bits, the lowest first: (value, number of bits) each."""
    number, at = 0, 0
    for value, bits in fields:
        number |= value << at
        at += bits
    return JXL + number.to_bytes(16, "little")


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ([(1, 1), (7, 5), (1, 3)], (64, 64)),
        ([(1, 1), (7, 5), (0, 3), (3, 5)], (32, 64)),
        ([(0, 1), (0, 2), (299, 9), (0, 3), (1, 2), (4999, 13)], (5000, 300)),
        ([(0, 1), (3, 2), (59999, 30), (7, 3)], (120000, 60000)),
        ([(0, 1), (2, 2), (8, 18), (5, 3)], (16, 9)),
    ],
)
def test_the_size_of_a_jpeg_xl_file_is_known_without_decoding(fields, size):
    bare = jxl_header(*fields)
    assert jpeg_xl_size(io.BytesIO(bare)) == size
    start = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x14ftypjxl " + bytes(8)
    exif = struct.pack(">I4s", 108, b"Exif") + bytes(100)
    for box in (
        struct.pack(">I4s", 8 + len(bare), b"jxlc") + bare,
        struct.pack(">I4sQ", 1, b"jxlc", 16 + len(bare)) + bare,
        struct.pack(">I4sI", 12 + len(bare), b"jxlp", 0) + bare,
        struct.pack(">I4s", 0, b"jxlc") + bare,
    ):
        assert jpeg_xl_size(io.BytesIO(start + exif + box)) == size


def test_boxes_without_a_picture_do_not_hang():
    start = b"\0\0\0\x0cJXL \r\n\x87\n"
    for rest in (b"", struct.pack(">I4s", 0, b"abcd"), struct.pack(">I4s", 3, b"abcd"), bytes(50)):
        with pytest.raises(ValueError, match="no picture"):
            jpeg_xl_size(io.BytesIO(start + rest))
    assert jpeg_xl_size(io.BytesIO(b"\x89PNG")) is None


def test_a_phone_photograph_without_its_plugin_says_what_to_install(monkeypatch):
    monkeypatch.setattr(formats, "_AVAILABLE", formats._AVAILABLE - {"HEIF", "JXL"})
    with pytest.raises(ImageError, match="a HEIC photograph, which needs .* pip install 'backmix\\[formats\\]'"):
        open_image(HEIC)
    with pytest.raises(ImageError, match="a JPEG XL image, which needs .* pip install 'backmix\\[formats\\]'"):
        open_image(jxl_header((1, 1), (7, 5), (1, 3)))


def test_kinds_that_are_not_read_are_counted(monkeypatch):
    monkeypatch.setattr(formats, "_MISSING", frozenset({".heic", ".jxl"}))
    monkeypatch.setattr(formats, "_NOT_READ", frozenset({".heic", ".jxl", ".cr2"}))
    assert passed_over([]) == []
    assert passed_over(["a/1.HEIC", "2.heic", "3.jxl"]) == [
        "3 files of kinds that cannot be read: .heic (2), .jxl (1); pip install 'backmix[formats]' brings .heic, .jxl"
    ]
    assert passed_over(["1.CR2", "list.csv", "README", "b.csv"]) == [
        "1 file of a kind that cannot be read: .cr2 (1)",
        "3 files are not images by the extension: .csv (2), no extension (1)",
    ]
    assert passed_over([f"x.k{i}" for i in range(9)])[0].endswith("and 3 more kinds")


# What follows needs the extra `formats`.


def picture():
    return Image.fromarray(np.kron(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8), np.ones((8, 8), np.uint8)))


def encoded(extension):
    buffer = io.BytesIO()
    if extension == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
        picture().convert("RGB").save(buffer, "HEIF", quality=95)
    else:
        pytest.importorskip("pillow_jxl")
        picture().convert("RGB").save(buffer, "JXL", lossless=True)
    return buffer.getvalue()


@pytest.mark.parametrize("extension", [".heic", ".jxl"])
def test_phone_photographs_are_read(extension):
    content = encoded(extension)
    assert extension in IMAGE_EXTENSIONS
    found = np.asarray(open_image(content)).astype(int)
    assert np.abs(found - np.asarray(picture().convert("RGB"))).mean() < (4 if extension == ".heic" else 0.1)


@pytest.mark.parametrize("extension", [".heic", ".jxl"])
def test_phone_photographs_are_guarded(extension):
    content = encoded(extension)
    with pytest.raises(ImageError, match="64x64 pixels, more than the 4095 allowed"):
        open_image(content, max_pixels=4095)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(ImageError):
            open_image(content[: int(share * len(content))])
