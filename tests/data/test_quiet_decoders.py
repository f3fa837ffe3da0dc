"""Whatever is wrong with a picture, no decoder writes on the screen."""

import io
import logging
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, features

from backmix.data.images import ImageError, open_image
from backmix.data.quiet_decoders import QuietLibtiff, _libtiff, quiet_loggers
from backmix.data.source import find_unreadable

RNG = np.random.default_rng(0)
PICTURE = Image.fromarray(RNG.integers(0, 255, (40, 50, 3), dtype=np.uint8))


def encoded(format_, **options):
    buffer = io.BytesIO()
    (PICTURE.convert("1") if options.get("compression") == "group4" else PICTURE).save(buffer, format_, **options)
    return buffer.getvalue()


def damaged(content, number):
    """A copy that is cut off, or has a few other bytes; the same for the same number."""
    drawn, changed = random.Random(number), bytearray(content)
    if number % 3 == 0:
        return bytes(changed[: drawn.randrange(len(changed))])
    for _ in range(drawn.choice((1, 3, 10, 40))):
        changed[drawn.randrange(len(changed))] = drawn.randrange(256)
    return bytes(changed)


TIFF = [encoded("TIFF", compression=of) for of in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4")] + [
    encoded("TIFF")
]

pytestmark = pytest.mark.skipif(not features.check("libtiff"), reason="this Pillow has no libtiff")
needs_handlers = pytest.mark.skipif(sys.platform == "win32", reason="libtiff is built into Pillow")


def reasons(contents):
    found = []
    for content in contents:
        try:
            open_image(content)
        except ImageError as error:
            found.append(error.reason)
    return found


@needs_handlers
def test_the_damage_does_make_libtiff_print(capfd):
    """Else the tests below would test nothing."""
    with pytest.raises(OSError), Image.open(io.BytesIO(TIFF[1][:8] + b"\xff" * 300 + TIFF[1][308:])) as image:
        image.load()
    assert capfd.readouterr().err


@needs_handlers
def test_no_word_of_libtiff_and_tifffile_reaches_the_screen(capfd):
    found = reasons(damaged(content, number) for content in TIFF for number in range(40))
    assert len(found) > 60 and all(reason and "\n" not in reason for reason in found)
    assert capfd.readouterr() == ("", "")


@needs_handlers
def test_nor_from_several_threads_at_once(capfd):
    class Damaged:
        classes, labels = ["a"], None

        def __len__(self):
            return 400

        def read(self, i):
            return open_image(damaged(TIFF[i % len(TIFF)], i))

    assert len(find_unreadable(Damaged(), workers=4)) > 100
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "JPEG2000", "PPM", "ICO"])
def test_nor_of_other_formats(format_, capfd):
    if format_ == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    content = encoded(format_)
    assert reasons(damaged(content, number) for number in range(40))
    assert capfd.readouterr() == ("", "")


@needs_handlers
def test_the_handlers_are_put_back():
    setters = _libtiff()
    assert len(setters) == 2

    def now():
        found = [change(None) for change in setters]
        for change, handler in zip(setters, found):
            change(handler)
        return found

    before = now()
    with QuietLibtiff():
        assert now() == [None, None]
    assert now() == before
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: reasons([damaged(TIFF[0], number)]), range(40)))
    assert now() == before


def test_a_program_that_handles_the_log_still_gets_it(caplog):
    quiet_loggers()
    with caplog.at_level(logging.WARNING):
        logging.getLogger("tifffile").warning("odd tag")
        logging.getLogger("PIL.TiffImagePlugin").error("too many samples")
    assert [record.message for record in caplog.records] == ["odd tag", "too many samples"]


def test_without_handlers_pictures_are_read_all_the_same():
    code = (
        "import ctypes, sys; ctypes.CDLL = lambda name: (_ for _ in ()).throw(OSError('no such library'))\n"
        "from backmix.data.images import open_image; print(open_image(sys.stdin.buffer.read()).size)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=TIFF[0], capture_output=True, check=True)
    assert done.stdout.split() == [b"(50,", b"40)"]
