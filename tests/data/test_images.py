import io
import os
import pickle
import struct
import subprocess
import sys
import threading
import warnings
import zlib

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from backmix.data.images import ImageError, open_image, open_mask
from backmix.errors import DataError


def encode(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture(width=24, height=16, mode="RGB"):
    """Smooth, and different in every corner."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), 255 - x * 200 // (width - 1)], -1)
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def values(image):
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, *chunks, depth=8, colour=0):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP", "JPEG"])
def test_formats_open_from_path_and_bytes(tmp_path, format):
    content = encode(picture(), format, **({"lossless": True} if format == "WEBP" else {}))
    path = tmp_path / "image"
    path.write_bytes(content)
    tolerance = {"JPEG": 20, "GIF": 30}.get(format, 0)
    for source in (path, str(path), content):
        opened = open_image(source)
        assert np.abs(values(opened) - np.asarray(picture())).max() <= tolerance
        assert type(opened) is Image.Image and opened.info == {}


def test_the_file_is_closed_afterwards(tmp_path):
    path = tmp_path / "a.png"
    picture().save(path)
    opened = open_image(path)
    path.write_bytes(b"")
    assert values(opened).shape == (16, 24, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(picture(), format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    plain = Image.open(io.BytesIO(content))
    expected = np.asarray(ImageOps.exif_transpose(plain).convert("RGB")).astype(int)
    assert expected.shape[:2] == ((16, 24) if orientation < 5 else (24, 16))
    assert np.array_equal(values(open_image(content)), expected)


def test_orientation_of_a_16_bit_image_survives_its_conversion():
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.array([[0, 65535, 257]], dtype=np.uint16))
    assert values(open_image(encode(deep, "PNG", exif=exif)))[:, 0, 0].tolist() == [0, 255, 1]


def test_damaged_exif_does_not_cost_the_image():
    content = encode(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(content).size == (24, 16)


def test_cmyk_and_ycck():
    cmyk = encode(picture(mode="CMYK"), "JPEG", quality=95)
    assert np.abs(values(open_image(cmyk)) - np.asarray(picture())).max() < 24
    at = cmyk.index(b"Adobe") + 11
    assert cmyk[at] == 0
    ycck = cmyk[:at] + b"\x02" + cmyk[at + 1 :]
    assert Image.open(io.BytesIO(ycck)).mode == "CMYK"
    assert np.abs(values(open_image(ycck)) - values(open_image(cmyk))).max() > 24


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50))
@settings(deadline=None, max_examples=30)
def test_16_bit_grey_is_scaled_and_not_clipped(numbers):
    numbers = [*numbers, 65535]  # Without a bright pixel, fewer bits would be guessed.
    deep = Image.fromarray(np.array([numbers], dtype=np.uint16))
    opened = values(open_image(encode(deep, "PNG")))
    assert opened[0, :, 0].tolist() == [round(number / 257) for number in numbers]
    assert (opened == opened[..., :1]).all()


def test_16_bit_of_other_formats():
    grey = np.array([[0, 257 * 128, 65535]], dtype=np.uint16)
    big_endian = Image.frombytes("I;16B", (3, 1), grey.astype(">u2").tobytes())
    for content in (
        encode(Image.fromarray(grey), "TIFF"),
        encode(big_endian, "TIFF"),
        b"P5 3 1 65535\n" + grey.astype(">u2").tobytes(),
        # 16 bits a channel in colour, and grey with alpha.
        png(
            3,
            1,
            png_chunk(b"IDAT", zlib.compress(b"\0" + np.repeat(grey.astype(">u2"), 3).tobytes())),
            depth=16,
            colour=2,
        ),
    ):
        assert values(open_image(content))[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0, 128, 255], [0, 128, 255]),
        ([0, 257 * 128, 65535], [0, 128, 255]),
        ([-100, 0, 100], [0, 128, 255]),
        ([0, 500_000, 1_000_000], [0, 128, 255]),
    ],
)
def test_32_bit_integers_are_scaled_from_the_range_they_fit(numbers, expected):
    content = encode(Image.fromarray(np.array([numbers], dtype=np.int32)), "TIFF")
    assert values(open_image(content))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 2.0, 255.0], [0, 2, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([-5.0, -5.0, -5.0], [0, 0, 0]),
        ([float("nan"), 0.5, float("inf")], [0, 128, 255]),
    ],
)
def test_floats_are_scaled_from_the_range_they_fit(numbers, expected):
    content = encode(Image.fromarray(np.array([numbers], dtype=np.float32)), "TIFF")
    assert np.abs(values(open_image(content))[0, :, 0] - expected).max() <= 1


def test_floats_without_a_finite_value_are_refused():
    content = encode(Image.fromarray(np.full((1, 2), np.nan, dtype=np.float32)), "TIFF")
    with pytest.raises(ImageError, match="no finite value"):
        open_image(content)


def test_grey_one_bit_and_palette():
    black_white = Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8))
    for image in (black_white, black_white.convert("1"), black_white.convert("P")):
        assert values(open_image(encode(image, "PNG")))[..., 1].tolist() == [[0, 255], [255, 0]]


def test_transparency_is_laid_over_white():
    red = (200, 0, 0)
    colours = Image.new("RGBA", (3, 1), (*red, 255))
    colours.putpixel((1, 0), (*red, 0))
    colours.putpixel((2, 0), (*red, 51))
    expected = [[200, 0, 0], [255, 255, 255], [244, 204, 204]]
    assert np.abs(values(open_image(encode(colours, "PNG")))[0] - expected).max() <= 1
    assert np.abs(values(open_image(encode(colours, "WEBP", lossless=True, exact=True)))[0] - expected).max() <= 1

    grey = Image.new("LA", (2, 1), (100, 255))
    grey.putpixel((1, 0), (100, 0))
    assert values(open_image(encode(grey, "PNG")))[0].tolist() == [[100] * 3, [255] * 3]

    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    for transparency in (1, bytes([255, 0])):
        for format in ("PNG",) if isinstance(transparency, bytes) else ("PNG", "GIF"):
            content = encode(palette, format, transparency=transparency)
            assert values(open_image(content))[0].tolist() == [[10, 20, 30], [255] * 3]

    key = encode(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert values(open_image(key))[0].tolist() == [[255] * 3]


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_of_an_animation_the_first_frame_counts(format):
    if format == "MPO" and tuple(map(int, PIL.__version__.split(".")[:2])) < (11, 3):
        pytest.skip("Pillow before 11.3 reads MPO, and writes only such as it takes for a plain JPEG")
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    lossless = {"lossless": True} if format == "WEBP" else {}
    content = encode(frames[0], format, save_all=True, append_images=frames[1:], **lossless)
    assert Image.open(io.BytesIO(content)).n_frames == 3
    assert np.abs(values(open_image(content)) - [255, 0, 0]).max() <= 4


def test_masks_keep_their_values():
    mask = Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8))
    opened = open_mask(encode(mask, "PNG"))
    assert opened.mode == "L" and np.asarray(opened).tolist() == [[0, 128, 255]]
    assert np.asarray(open_mask(encode(mask.convert("1", dither=0), "PNG"))).tolist() == [[0, 255, 255]]
    with pytest.raises(ImageError, match="the mask: broken"):
        open_mask(encode(picture(mode="L"), "BMP")[:-30], name="the mask")


# --- bad input


def test_what_is_not_there_or_no_file(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        open_image(tmp_path / "nothing.png")
    with pytest.raises(ImageError, match="a folder, not an image"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        open_image("null\0byte.png")
    (tmp_path / "empty.png").touch()
    for empty in (tmp_path / "empty.png", b""):
        with pytest.raises(ImageError, match=r"empty \(0 bytes\)"):
            open_image(empty)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        open_image(tmp_path / "pipe.png")


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    picture().save(path)

    def refuse(self, *args, **kwargs):  # file modes do not stop an administrator
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert caught.value.path == str(path) and caught.value.reason == "cannot be read: Permission denied"
    assert str(caught.value) == f"{path}: cannot be read: Permission denied"


@pytest.mark.parametrize(
    "content", [b"hello", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"<svg/>", b"PK\3\4" + bytes(100), bytes(999)]
)
def test_what_is_no_image_is_said_to_be_none(content):
    with pytest.raises(ImageError, match=r"not an image .* or its header is broken"):
        open_image(content)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM"])
def test_a_truncated_image_is_refused_whatever_pillow_is_told(monkeypatch, format):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    content = encode(noise, format)
    for tolerant in (False, True):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
        with pytest.raises(ImageError, match=r"broken or cut off|not an image"):
            open_image(content[: len(content) // 2])
        assert ImageFile.LOAD_TRUNCATED_IMAGES is tolerant


def test_postscript_and_photoshop_are_never_run(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    for content in (encode(picture(), "EPS"), b"8BPS\0\1" + bytes(100), encode(picture(), "PDF")):
        with pytest.raises(ImageError, match="not an image"):
            open_image(content)


def test_a_header_that_claims_too_much_is_refused_before_decoding(monkeypatch):
    def forbidden(*args, **kwargs):
        pytest.fail("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", forbidden)
    jpeg = encode(picture(), "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    huge_jpeg = jpeg[:at] + struct.pack(">HH", 60000, 60000) + jpeg[at + 4 :]
    huge_bmp = encode(picture(), "BMP")
    huge_bmp = huge_bmp[:18] + struct.pack("<ii", 60000, 60000) + huge_bmp[26:]
    for content in (png(60000, 60000, png_chunk(b"IDAT", zlib.compress(b""))), huge_jpeg, huge_bmp):
        with pytest.raises(ImageError, match="refused without decoding"):
            open_image(content)
    # Between Pillow's warning and its error our own limit decides.
    with pytest.raises(ImageError, match="13000x13000 pixels, more than the 150000000 allowed"):
        open_image(png(13000, 13000, png_chunk(b"IDAT", b"")), max_pixels=150_000_000)


def test_a_real_deflate_bomb_is_refused(tmp_path):
    rows = zlib.compress(bytes(20000 * (1 + 20000 // 8)), 9)
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(20000, 20000, png_chunk(b"IDAT", rows), depth=1))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(ImageError, match="refused without decoding"):
        open_image(bomb)
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000), 9))
    with pytest.raises(ImageError, match="(?i)too large"):
        open_image(png(1, 1, text, png_chunk(b"IDAT", zlib.compress(b"\0\0"))))
    assert PngImagePlugin.MAX_TEXT_CHUNK < 2**21


def test_the_limit_on_pixels_is_exact():
    content = encode(picture(24, 16), "PNG")
    assert open_image(content, max_pixels=24 * 16).size == (24, 16)
    with pytest.raises(ImageError, match="24x16 pixels, more than the 383 allowed"):
        open_image(content, max_pixels=24 * 16 - 1)
    with pytest.raises(ValueError, match="max_pixels must be at least 1"):
        open_image(content, max_pixels=0)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a", b"RIFF", b"II*\0", b"BM", b"P6 "]))
@settings(deadline=None, max_examples=100)
def test_arbitrary_bytes_give_an_image_or_an_image_error(content, start):
    opens_or_says_why(start + content)


@given(st.data(), st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]))
@settings(deadline=None, max_examples=100)
def test_damaged_images_give_an_image_or_an_image_error(data, format):
    content = bytearray(encode(picture(), format))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    opens_or_says_why(bytes(content))


def opens_or_says_why(content):
    try:
        assert open_image(content, max_pixels=10**6).mode == "RGB"
    except ImageError as error:
        assert error.reason


def test_no_warning_leaks_and_filters_come_back():
    palette = Image.new("P", (4, 4))
    noisy = [
        encode(palette, "PNG", transparency=bytes(range(100))),
        png(9500, 9500, png_chunk(b"IDAT", b"")),  # Pillow warns of a bomb
        encode(picture(), "JPEG")[:-200] + b"\xff\xd9",
        b"II*\0" + bytes(20),
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)

        def open_all():
            for content in noisy * 20:
                opens_or_says_why(content)

        threads = [threading.Thread(target=open_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert warnings.filters == before
        warnings.warn("still heard", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["still heard"]


def test_image_error_travels_between_processes_and_is_a_data_error():
    error = pickle.loads(pickle.dumps(ImageError("a.png", "no such file")))
    assert isinstance(error, DataError) and isinstance(error, ValueError)
    assert (error.path, error.reason, str(error)) == ("a.png", "no such file", "a.png: no such file")


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no text exist on Linux alone")
def test_a_name_that_is_no_text_can_still_be_printed(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(path, "wb") as file:
        file.write(b"no image")
    with pytest.raises(ImageError) as caught:
        open_image(os.fsdecode(path))
    str(caught.value).encode("utf-8")
    assert caught.value.path.endswith("caf\\xe9.png")
