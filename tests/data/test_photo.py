"""Photographs that are decoded to fewer pixels, and turned after they are shrunk."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from backmix.data.images import ImageError, open_image, open_photo
from backmix.data.photo import DECODING, FULL, GAP, SCALED, Photo, side_to_read
from backmix.data.square import central_square

ORIENTATIONS = range(1, 9)


def noise(width, height, grain=6):
    """Coarse noise, whose grains have a size in pixels, and which JPEG keeps."""
    rows, columns = max(2, height // grain), max(2, width // grain)
    rough = np.random.default_rng(0).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture, orientation=1, kind="JPEG", **options):
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    picture.save(file, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}), **options)
    return file.getvalue()


def turned_first(content, size, box=None):
    """The pixels of version 1 as plain code: decode everything, turn, convert, cut out and resize."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    if box is None:
        side = min(picture.size)
        left, top = (picture.width - side) / 2, (picture.height - side) / 2
        box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_shrinking_before_turning_gives_the_same_pixels_as_turning_first(kind, mode, orientation):
    for width, height, size in ((90, 61, 16), (47, 80, 32), (33, 33, 33), (20, 25, 40), (64, 64, 16), (129, 64, 32)):
        content = encoded(noise(width, height).convert(mode), orientation, kind)
        photo = open_photo(content)
        due = turned_first(content, size)
        assert np.array_equal(np.asarray(photo.square(size)), due)
        assert np.array_equal(np.asarray(central_square(photo, size)), due)
        assert photo.square(size).mode == "RGB" and photo.scale == 1
        whole = open_image(content)
        assert photo.size == whole.size and np.array_equal(np.asarray(photo.upright()), np.asarray(whole))


@given(
    st.sampled_from(list(ORIENTATIONS)),
    st.integers(1, 120),
    st.integers(1, 120),
    st.integers(1, 40),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_part_is_the_same_as_after_turning(orientation, width, height, size, data):
    content = encoded(noise(width, height), orientation, "PNG")
    photo = open_photo(content)
    left, top = data.draw(st.integers(0, photo.width - 1)), data.draw(st.integers(0, photo.height - 1))
    right = data.draw(st.integers(left + 1, photo.width))
    bottom = data.draw(st.integers(top + 1, photo.height))
    box = (left, top, right, bottom)
    assert np.array_equal(np.asarray(photo.resized((size, size), box)), turned_first(content, size, box))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("size", [(640, 480), (641, 483), (487, 645)])
@pytest.mark.parametrize(("side", "scale"), [(20, 8), (33, 4), (61, 2)])
def test_a_scaled_jpeg_shows_the_same_part_whatever_its_orientation(orientation, size, side, scale):
    picture = noise(*size, grain=32)
    photo = open_photo(encoded(picture, orientation), at_least=GAP * side)
    assert photo.scale == scale and min(photo.pixels.size) >= GAP * side
    upright = open_image(encoded(picture, orientation))
    assert photo.size == upright.size
    found, due = np.asarray(photo.square(side), float), np.asarray(central_square(upright, side), float)
    assert np.abs(found - due).mean() < 1  # It is 2 to 15 where the fraction of a pixel is taken for a whole one.
    # A part that is cut out beside the middle is the same part too.
    box = (photo.width * 0.1, photo.height * 0.5, photo.width * 0.6, photo.height)
    part = np.asarray(photo.resized((side, side), box), float)
    assert np.abs(part - turned_first(encoded(picture, orientation), side, box)).mean() < 1.5


def test_a_fraction_of_a_pixel_at_the_edge_is_no_part_of_the_picture():
    # 9 pixels at an eighth are two, of which the second stands for one pixel of the file only.
    picture = Image.new("RGB", (97, 97), (200, 60, 60))
    photo = open_photo(encoded(picture, 3), at_least=12)
    assert photo.scale == 8 and photo.pixels.size == (13, 13) and photo.size == (97, 97)
    assert np.abs(np.asarray(photo.square(8), int) - (200, 60, 60)).max() <= 3


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_greys_and_the_colours_of_print_are_scaled_too(mode):
    picture = noise(640, 480, grain=32).convert(mode)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=95)
    photo = open_photo(file.getvalue(), at_least=64)
    assert photo.scale == 4
    due = np.asarray(central_square(open_image(file.getvalue()), 32), float)
    assert np.abs(np.asarray(photo.square(32), float) - due).mean() < 1


def test_a_photograph_of_a_phone_that_holds_more_pictures_is_scaled_too():
    first, second = noise(640, 480, grain=32), noise(640, 480, grain=64)
    content = encoded(first, 6, "MPO", save_all=True, append_images=[second], quality=95)
    assert Image.open(io.BytesIO(content)).format == "MPO"
    photo = open_photo(content, at_least=64)
    assert photo.scale == 4 and photo.size == (480, 640)
    assert np.array_equal(np.asarray(open_photo(content).square(32)), turned_first(content, 32))
    assert np.abs(np.asarray(photo.square(32), float) - turned_first(content, 32)).mean() < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_small_picture_and_other_formats_have_all_their_pixels(kind):
    content = encoded(noise(127, 190), 6, kind)
    photo = open_photo(content, at_least=GAP * 32)
    assert photo.scale == 1 and np.array_equal(np.asarray(photo.square(32)), turned_first(content, 32))
    if kind != "JPEG":
        assert open_photo(content, at_least=8).scale == 1


def test_the_decoded_picture_keeps_nothing_of_its_file_and_is_not_shared(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(noise(64, 48), 6))
    photo = open_photo(path)
    path.unlink()
    upright, square = photo.upright(), photo.square(16)
    assert upright.info == square.info == {} and type(upright) is type(square) is Image.Image
    upright.paste((0, 0, 0), (0, 0, 48, 64))
    assert np.asarray(photo.upright()).any()


def test_what_is_refused_is_refused_by_the_size_in_the_header_and_cut_off_files_are_errors():
    content = encoded(noise(640, 480))
    with pytest.raises(ImageError, match="640x480 pixels"):
        open_photo(content, at_least=16, max_pixels=640 * 480 - 1)
    assert open_photo(content, at_least=16, max_pixels=640 * 480).scale == 8
    with pytest.raises(ImageError, match="cut off"):
        open_photo(content[: len(content) // 2], at_least=16)
    with pytest.raises(ValueError, match="at_least must be at least 1"):
        open_photo(content, at_least=0)


def test_the_versions_and_what_they_ask_for():
    assert (FULL, SCALED, DECODING) == (1, 2, SCALED)
    assert side_to_read(224, FULL) is None and side_to_read(224, SCALED) == 448
    for wrong in (0, 3, None):
        with pytest.raises(ValueError, match="decoding is 1 .* or 2"):
            side_to_read(224, wrong)


def test_a_picture_in_memory_is_a_photograph_with_all_its_pixels():
    picture = noise(50, 30)
    photo = Photo.of(picture)
    assert photo.has(1000) and (photo.width, photo.height) == picture.size
    assert np.array_equal(np.asarray(photo.square(16)), np.asarray(central_square(picture, 16)))
    scaled = open_photo(encoded(noise(640, 480)), at_least=64)
    assert scaled.has(120) and not scaled.has(121)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(5000, 3), (3, 5000), (2000, 5), (300, 4)])
def test_strips_are_as_if_they_were_turned_first(size, orientation, tmp_path):
    """Pillow interpolates a picture above 100 times as high as wide along its columns first."""
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "strip.jpg", exif=exif, quality=95)
    upright = open_image(tmp_path / "strip.jpg")
    photo = open_photo(tmp_path / "strip.jpg")
    assert np.array_equal(np.asarray(photo.square(32)), np.asarray(central_square(upright, 32)))


def test_a_photograph_is_not_taken_pixel_by_pixel():
    photo = Photo.of(Image.new("RGB", (40, 30)))
    with pytest.raises(ValueError, match="NEAREST is for masks"):
        photo.resized((8, 8), resample=Image.Resampling.NEAREST)


def test_sides_and_versions_are_whole_numbers(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "one.jpg")
    with pytest.raises(TypeError, match="at_least is a whole number of pixels; got 1.5"):
        open_photo(tmp_path / "one.jpg", at_least=1.5)
    for version in (True, 2.0, "2"):
        with pytest.raises(ValueError, match="decoding is 1"):
            side_to_read(32, version)
