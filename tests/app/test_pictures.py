"""From dropped files to answers: order, errors that name no path, and no file but what was dropped."""

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from backmix import OpenSetClassifier
from backmix.app.pictures import LARGE, SMALL, Upload, look, look_at, picture_and_evidence, read_photo, uploads_in
from backmix.data.images import MAX_PIXELS, ImageError
from backmix.data.photo import Photo


def bomb(side: int = 60_000) -> bytes:
    """A PNG of a few bytes that says it is `side` x `side` pixels large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def decoded(address: str) -> Image.Image:
    kind, content = address.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.fixture(scope="module")
def classifier(trained):
    return OpenSetClassifier.load(trained)


@pytest.fixture
def uploads(pictures, tmp_path):
    files = sorted((pictures / "test").rglob("*.png"))
    whole = [Upload(str(file), f"{file.parent.name}-{file.name}") for file in files[:5]]
    (tmp_path / "bomb.png").write_bytes(bomb())
    (tmp_path / "cut.png").write_bytes(files[0].read_bytes()[:900])
    (tmp_path / "notes.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    broken = [Upload(str(tmp_path / f"{name}.png"), name) for name in ("bomb", "cut", "notes", "empty", "gone")]
    return [whole[0], broken[0], *whole[1:3], *broken[1:], *whole[3:]]


def test_answers_stand_in_the_order_of_the_files(classifier, uploads):
    told = []
    seen = look(classifier, uploads, max_pixels=MAX_PIXELS, batch_size=3, on_images=told.append)
    assert [one.upload for one in seen] == uploads and [one.answer.path for one in seen] == [u.name for u in uploads]
    assert told == [3, 6, 9, 10]
    alone = classifier.predict([upload.path for upload in uploads], top=5)
    for one, reference in zip(seen, alone, strict=True):
        assert (one.answer.error is None) == (reference.error is None) == (one.small != "")
        assert one.answer.label == reference.label
        if reference.unknown_score is not None:
            assert one.answer.unknown_score == pytest.approx(reference.unknown_score, abs=1e-4)
            assert decoded(one.small).size == (SMALL, SMALL)


def test_errors_say_why_and_never_where(classifier, uploads, tmp_path):
    seen = look(classifier, uploads, max_pixels=MAX_PIXELS)
    reasons = {one.answer.path: one.answer.error for one in seen if one.answer.error}
    assert reasons.keys() == {"bomb", "cut", "notes", "empty", "gone"}
    assert "pixels" in reasons["bomb"] and "cut off" in reasons["cut"] and "not an image" in reasons["notes"]
    assert "empty" in reasons["empty"] and "drop it again" in reasons["gone"]
    assert not any(str(tmp_path) in reason or "/" in reason for reason in reasons.values())


def test_the_limit_of_pixels_is_exact(classifier, uploads):
    photo, shown = read_photo(uploads[0], 40 * 40, classifier, SMALL)
    assert photo.size == (40, 40) and shown.size == (SMALL, SMALL)
    with pytest.raises(ImageError, match="40x40 pixels"):
        read_photo(uploads[0], 40 * 40 - 1, classifier, SMALL)


def test_one_picture_is_answered_as_among_many(classifier, uploads):
    photo, _ = read_photo(uploads[0], MAX_PIXELS, classifier, LARGE)
    one, among = look_at(classifier, uploads[0], photo), look(classifier, uploads, max_pixels=MAX_PIXELS)[0]
    assert one.answer.label == among.answer.label and one.upload == among.upload
    assert one.answer.unknown_score == pytest.approx(among.answer.unknown_score, abs=1e-4)


def test_a_large_jpeg_is_answered_alone_as_among_many_and_shown_as_large_as_a_small_one(classifier, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((1600, 1200), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "large.jpg", quality=92)
    upload = Upload(str(tmp_path / "large.jpg"), "large.jpg")
    photo, shown = read_photo(upload, MAX_PIXELS, classifier, LARGE)
    assert photo.scale == 8 and shown.size == (LARGE, LARGE)
    due = np.asarray(picture.crop((200, 0, 1400, 1200)).resize(shown.size, Image.Resampling.LANCZOS), float)
    assert np.abs(np.asarray(shown) - due).mean() < 2
    one, among = look_at(classifier, upload, photo), look(classifier, [upload], max_pixels=MAX_PIXELS)[0]
    by_path = classifier.predict([upload.path])[0]
    assert one.answer.unknown_score == among.answer.unknown_score == by_path.unknown_score


def test_the_two_pictures_are_square_and_differ(classifier):
    photo = Photo.of(Image.new("RGB", (300, 100), (200, 40, 40)))
    shown = photo.square(LARGE)
    plain, evidence = (decoded(address) for address in picture_and_evidence(classifier, photo, shown))
    assert plain.size == evidence.size == (LARGE, LARGE)
    assert plain.getpixel((5, 5))[0] > 190
    assert plain.tobytes() != evidence.tobytes()


def test_uploads_in_takes_files_in_the_folder_alone(tmp_path):
    folder = tmp_path / "uploads"
    (folder / "0a").mkdir(parents=True)
    file, outside = folder / "0a" / "x.png", tmp_path / "secret.png"
    for path in (file, outside):
        path.write_bytes(b"x")
    name = "<b>\n\u202egpj.exe"
    entry = {"path": str(file), "orig_name": name, "size": 1}
    assert uploads_in(None, folder) == [] and uploads_in([], folder) == []
    assert uploads_in(entry, folder) == uploads_in([entry], folder) == [Upload(str(file), name)]
    assert uploads_in({"path": str(file), "orig_name": None}, folder) == [Upload(str(file), "x.png")]
    (folder / "link.png").symlink_to(outside)
    for path in (outside, folder / ".." / "secret.png", folder / "link.png", "/etc/passwd", "http://127.0.0.1/x.png"):
        with pytest.raises(ValueError, match="not dropped on this page"):
            uploads_in([entry, {"path": str(path), "orig_name": "x"}], folder)
    for nonsense in (["x"], "x", {"path": 3}, {}, [None]):
        with pytest.raises(ValueError, match="a file was expected"):
            uploads_in(nonsense, folder)
