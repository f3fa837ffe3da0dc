"""Answers in order, decoded ahead by threads, and never more in memory than a few batches."""

import threading

import numpy as np
import pytest
from command_folders import colour
from PIL import Image
from predict_colours import ColourModel, found

from backmix.data.images import open_image
from backmix.data.square import central_square
from backmix.predict import pipeline as predict_pipeline
from backmix.predict.paths import Found
from backmix.predict.pipeline import answer_images, default_batch_size, default_workers

COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220), "unknown": (100, 100, 100)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """30 pictures of four colours; every seventh cannot be read."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(30):
        name = list(COLOURS)[number % 4]
        colour(folder / f"{number:02d}-{name}.png", COLOURS[name], (20 + number, 24))
        if number % 7 == 6:
            (folder / f"{number:02d}-{name}.png").write_bytes(b"no image")
    return sorted(folder.iterdir())


def run(images, model=None, workers=2, batch_size=4, top=2):
    return list(answer_images(images, model or ColourModel(), workers=workers, batch_size=batch_size, top=top))


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 1), (1, 30), (3, 4), (4, 7), (2, 100)])
def test_each_path_gets_its_answer_in_order(files, workers, batch_size):
    model = ColourModel()
    answers = run(found(*files), model, workers, batch_size)
    assert [one.path for one, _ in answers] == [answer.path for _, answer in answers] == list(map(str, files))
    for number, (one, answer) in enumerate(answers):
        if number % 7 == 6:
            assert answer.label is None and "not an image" in answer.error
        else:
            assert one.path.endswith(f"-{answer.label}.png") and len(answer.top) == 2 and answer.error is None
    assert sum(model.batches) == 26 and max(model.batches) <= batch_size


def test_batches_are_full_whatever_is_unreadable(files, tmp_path):
    model = ColourModel()
    run(found(*files), model, batch_size=5)
    assert model.batches == [5] * 5 + [1]
    (tmp_path / "bad.png").write_bytes(b"no image")
    model = ColourModel()
    answers = run(found(files[0], *[tmp_path / "bad.png"] * 20, files[1]), model, batch_size=4)
    assert model.batches == [1, 1] and len(answers) == 22  # Rows do not pile up behind one image.


def test_the_model_sees_the_central_square(files):
    seen = []

    class Keeps(ColourModel):
        def answer(self, images, names, *, top):
            seen.extend(images.copy())
            return super().answer(images, names, top=top)

    run(found(*files[:6]), Keeps())
    for path, image in zip(files, seen):
        assert np.array_equal(image, np.asarray(central_square(open_image(path), 16)).transpose(2, 0, 1))


def test_problems_are_told_without_opening(files):
    ((_, answer),) = run([Found(str(files[0]), "a folder that cannot be listed")])
    assert answer.error == "a folder that cannot be listed"


def test_nothing_is_no_error():
    assert run([]) == []


def test_no_more_is_looked_at_than_is_needed(files):
    looked = 0

    def coming():
        nonlocal looked
        for one in found(*files) * 100:
            looked += 1
            yield one

    answers = answer_images(coming(), ColourModel(), workers=2, batch_size=4, top=1)
    for number, _ in enumerate(answers, 1):
        assert looked <= number + 2 * 4 + 2 * 2
        if number == 400:
            break
    answers.close()
    assert looked < 450


def test_decoding_goes_on_while_the_model_is_at_work(files):
    ahead = threading.Event()

    class Waits(ColourModel):
        def answer(self, images, names, *, top):
            if not self.batches:
                assert ahead.wait(20), "nothing was decoded meanwhile"
            return super().answer(images, names, top=top)

    def coming():
        for number, one in enumerate(found(*files[:6])):
            if number == 5:
                ahead.set()
            yield one

    assert len(run(coming(), Waits(), batch_size=3)) == 6


def test_large_pictures_are_decoded_one_at_a_time(files, monkeypatch):
    monkeypatch.setattr(predict_pipeline, "LARGE", 600)
    at_once = most = 0
    lock = threading.Lock()
    real = predict_pipeline.open_photo

    def opens(path, **options):
        nonlocal at_once, most
        picture = real(path, **options)
        if picture.width * picture.height > 600:
            with lock:
                at_once += 1
                most = max(most, at_once)
            threading.Event().wait(0.005)
            with lock:
                at_once -= 1
        return picture

    monkeypatch.setattr(predict_pipeline, "open_photo", opens)
    answers = run(found(*files), workers=6)
    assert most == 1 and sum(answer.error is None for _, answer in answers) == 26


def test_crafted_images_are_rows(tmp_path):
    bomb = bytearray(png_bytes(tmp_path / "whole.png"))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    (tmp_path / "bomb.png").write_bytes(bytes(bomb))
    (tmp_path / "text.svg").write_text("<svg/>")
    (tmp_path / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n")
    (tmp_path / "half.png").write_bytes(bytes(bomb[:60]))
    names = ["whole.png", "bomb.png", "text.svg", "program.png", "half.png", "gone.png", "."]
    answers = run(found(*(tmp_path / name for name in names)))
    assert [answer.error is None for _, answer in answers] == [True] + [False] * 6
    assert all(answer.error for _, answer in answers[1:])


def png_bytes(path):
    Image.new("RGB", (40, 40), "red").save(path)
    return path.read_bytes()


def test_memory_that_is_not_there_is_a_row(files, monkeypatch):
    def no_memory(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(predict_pipeline, "open_photo", no_memory)
    assert {answer.error for _, answer in run(found(*files[:3]))} == {"does not fit into memory"}


def test_an_error_of_the_model_comes_out(files):
    class Fails(ColourModel):
        def answer(self, images, names, *, top):
            raise ValueError("NaN")

    with pytest.raises(ValueError, match="NaN"):
        run(found(*files), Fails())


def test_defaults_go_by_machine_and_image_size():
    assert 1 <= default_workers() <= 8
    sizes = [default_batch_size(size) for size in (32, 64, 96, 224, 384, 2000)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 256 and sizes[-1] == 16
