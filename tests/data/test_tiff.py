import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from deep_files import colours, tiff
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backmix.data.images import ImageError, open_image

COLOURS = colours()
GREY = np.asarray(Image.fromarray(COLOURS).convert("L"))


def written(values, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def opened(content, **options):
    return np.asarray(open_image(content, **options)).astype(int)


def apart(values):
    return np.moveaxis(values, -1, 0).copy()


DEEP = {
    "grey": (GREY.astype(np.uint16) * 257, {}, GREY),
    "white is zero": (65535 - GREY.astype(np.uint16) * 257, {"photometric": "miniswhite"}, GREY),
    "colour": (COLOURS.astype(np.uint16) * 257, {"photometric": "rgb"}, COLOURS),
    "planes apart": (
        apart(COLOURS.astype(np.uint16) * 257),
        {"photometric": "rgb", "planarconfig": "separate"},
        COLOURS,
    ),
    "float": ((GREY / 255).astype(np.float32), {}, GREY),
    "float, white is zero": (1 - GREY / 255, {"photometric": "miniswhite"}, GREY),
    "float of 16 bits": ((GREY / 255).astype(np.float16), {}, GREY),
    "float colour": ((COLOURS / 255).astype(np.float32), {"photometric": "rgb"}, COLOURS),
    "32 bits": (GREY.astype(np.uint32) * 257, {}, GREY),
    "8 bits in 16": (GREY.astype(np.uint16), {}, GREY),
    "12 bits in 16, by the values": (GREY.astype(np.uint16) * 16 + 15, {}, GREY),
    "12 bits in 16, colour": (COLOURS.astype(np.uint16) * 16 + 15, {"photometric": "rgb"}, COLOURS),
    "12 bits of white is zero": (4095 - GREY.astype(np.uint16) * 16, {"photometric": "miniswhite"}, GREY),
    "stack of pages": (np.stack([GREY, 0 * GREY]).astype(np.uint16) * 257, {}, GREY),
    "ImageJ": (np.stack([GREY, 0 * GREY]).astype(np.uint16) * 257, {"imagej": True}, GREY),
}


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}, {"compression": "deflate"}])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", DEEP)
def test_deep_tiffs_look_like_their_8_bit_picture(name, order, layout):
    values, options, expected = DEEP[name]
    if options.get("imagej") and (order == "<" or "tile" in layout):
        pytest.skip("ImageJ has no such files")
    found = opened(written(values, byteorder=order, **options, **layout))
    wanted = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, -1)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"extratags": [(281, "H", 1, 4095, True)]},
        {"extratags": [(341, "H", 1, 4095, True)]},
        {"ome": True, "metadata": {"SignificantBits": 12}},
    ],
)
def test_a_declared_depth_counts_even_if_the_picture_is_dark(options):
    dark = (GREY // 4).astype(np.uint16) * 16  # By its values it would be of 10 bits.
    found = opened(written(dark, **options))
    assert np.abs(found[..., 0] - GREY // 4).max() <= 1


def test_the_largest_value_of_one_picture_declares_no_depth():
    # Programs write the largest value of the picture itself into this tag; it is no depth.
    values = GREY.astype(np.uint16) * 257
    found = opened(written(values // 2, extratags=[(281, "H", 1, 32767, True)]))
    assert np.abs(found[..., 0] - GREY / 2).max() <= 1


def test_a_declared_depth_that_the_values_exceed_does_not_count():
    found = opened(written(GREY.astype(np.uint16) * 257, extratags=[(281, "H", 1, 4095, True)]))
    assert np.abs(found[..., 0] - GREY).max() <= 1


def test_a_declared_range_of_floats():
    tags = [(340, "f", 1, -3.0, True), (341, "f", 1, 4.0, True)]
    found = opened(written((GREY / 255 * 3.5 - 3).astype(np.float32), extratags=tags))
    assert np.abs(found[..., 0] - GREY / 2).max() <= 1


def test_opacity_is_laid_over_white():
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:, :5] = 0
    values = np.dstack([COLOURS, alpha]).astype(np.uint16) * 257
    found = opened(written(values, photometric="rgb", extrasamples=["unassalpha"]))
    assert (found[:, :5] == 255).all()
    assert np.abs(found[:, 5:] - COLOURS[:, 5:]).max() <= 1
    # Further channels that are no opacity are left out.
    found = opened(written(values, photometric="rgb", extrasamples=["unspecified"]))
    assert np.abs(found - COLOURS).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation):
    tags = [(274, "H", 1, orientation, True)]
    shallow = opened(written(COLOURS, photometric="rgb", extratags=tags))
    deep = opened(written(COLOURS.astype(np.uint16) * 257, photometric="rgb", extratags=tags))
    assert np.array_equal(shallow, deep)
    assert deep.shape[:2] == (GREY.shape if orientation < 5 else GREY.shape[::-1])


@pytest.mark.parametrize("photometric", [0, 1, 2])
def test_lzw_needs_no_further_package_where_pillow_reads_it(photometric, monkeypatch):
    # tifffile reads LZW only with imagecodecs.
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    values = (COLOURS if photometric == 2 else GREY[..., None]).astype(np.uint16) * 16
    stored = 4095 - values if photometric == 0 else values
    found = opened(tiff(stored, photometric=photometric, compression=5, tags=[(281, 3, [4095])]))
    assert np.abs(found - (COLOURS if photometric == 2 else GREY[..., None])).max() <= 1


def test_what_needs_a_further_package_says_so():
    content = tiff(COLOURS.astype(np.uint16) * 257, photometric=2, apart=True, compression=5)
    script = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from backmix.data.images import open_image\n"
        "try: open_image(sys.stdin.buffer.read())\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=content, capture_output=True, check=True)
    assert b"ImageError" in done.stdout and b"pip install 'backmix[formats]'" in done.stdout
    assert done.stderr == b""


def test_the_limit_on_pixels_holds_before_anything_is_decoded(monkeypatch):
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *args, **options: pytest.fail("pixels were decoded"))
    content = tiff(COLOURS.astype(np.uint16), photometric=2, compression=8)
    huge = content.replace(struct.pack("<HHII", 256, 4, 1, 20), struct.pack("<HHII", 256, 4, 1, 60000))
    huge = huge.replace(struct.pack("<HHII", 257, 4, 1, 12), struct.pack("<HHII", 257, 4, 1, 60000))
    with pytest.raises(ImageError, match="60000x60000 pixels, more than the .* allowed; refused without decoding"):
        open_image(huge)
    with pytest.raises(ImageError, match="20x12 pixels, more than the 239 allowed"):
        open_image(content, max_pixels=239)
    tiled = written(GREY.astype(np.uint16), tile=(16, 48))
    with pytest.raises(ImageError, match="tiles of 48x16 pixels, more than the 300 allowed"):
        open_image(tiled, max_pixels=300)


def test_a_deflate_bomb_does_not_fill_the_memory():
    content = tiff(COLOURS.astype(np.uint16), photometric=2, compression=8)
    packed = zlib.compress(COLOURS.astype("<u2").tobytes())
    bomb = zlib.compress(bytes(50_000_000), 9)
    at = len(content) + len(content) % 2
    moved = content.replace(struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHII", 273, 4, 1, at))
    moved = moved.replace(struct.pack("<HHII", 279, 4, 1, len(packed)), struct.pack("<HHII", 279, 4, 1, len(bomb)))
    with pytest.raises(ImageError, match="more than the header says"):
        open_image(moved.ljust(at, b"\0") + bomb)


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}, {"compression": "deflate"}])
@pytest.mark.parametrize("name", ["grey", "colour", "planes apart", "float"])
def test_files_that_are_cut_off(name, layout):
    values, options, _ = DEEP[name]
    content = written(values, **options, **layout)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(ImageError, match="broken|not an image"):
            open_image(content[: int(share * len(content))])


@given(st.data(), st.booleans(), st.sampled_from([1, 8]))
@settings(deadline=None, max_examples=60)
def test_damaged_deep_tiffs_give_an_image_or_an_image_error(data, apart, compression):
    content = bytearray(tiff(COLOURS.astype(np.uint16) * 257, photometric=2, apart=apart, compression=compression))
    for _ in range(data.draw(st.integers(1, 6))):
        content[-1 - data.draw(st.integers(0, 199))] = data.draw(st.integers(0, 255))
    try:
        assert open_image(bytes(content), max_pixels=10**6).mode == "RGB"
    except ImageError as error:
        assert error.reason


def test_more_channels_than_colours_are_refused():
    values = np.stack([GREY] * 5).astype(np.uint16)
    with pytest.raises(ImageError):
        open_image(written(values, photometric="minisblack", planarconfig="separate"))


def test_odd_tags_are_not_told_on_standard_error():
    content = bytearray(tiff(GREY[..., None].astype(np.uint16) * 257, photometric=1))
    content = bytes(content).replace(struct.pack("<HHI", 284, 3, 1), struct.pack("<HHI", 284, 99, 1))
    script = "import sys; from backmix.data.images import open_image; print(open_image(sys.stdin.buffer.read()).size)"
    done = subprocess.run([sys.executable, "-c", script], input=content, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"(20, 12)\n", b"")


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (GREY > 99, {"photometric": "minisblack"}),
        (GREY <= 99, {"photometric": "miniswhite"}),
        (255 - GREY, {"photometric": "miniswhite"}),
        (apart(COLOURS), {"photometric": "rgb", "planarconfig": "separate"}),
    ],
)
def test_what_pillow_reads_well_stays_with_pillow(values, options, monkeypatch):
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *args, **options: pytest.fail("tifffile was asked"))
    found = opened(written(values, **options))
    expected = (GREY > 99) * 255 if values.dtype == bool else COLOURS if values.ndim == 3 else GREY
    assert np.abs(found - (expected if expected.ndim == 3 else expected[..., None])).max() == 0


def test_group_4_palette_and_jpeg():
    black_white = Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE)
    flat = Image.fromarray(np.repeat(GREY, 8, 1)).convert("RGB").quantize(256)
    for image, compression in ((black_white, "group4"), (flat, None), (flat.convert("RGB"), "jpeg")):
        buffer = io.BytesIO()
        image.save(buffer, "TIFF", compression=compression)
        assert np.abs(opened(buffer.getvalue()) - np.asarray(image.convert("RGB"))).max() <= 4
