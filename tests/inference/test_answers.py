"""From what a network says to answers: each in its place, whatever cannot be read."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.inference.answers import answer_pictures, predictions
from backmix.prediction import UNKNOWN, Prediction

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])


def test_an_answer_an_image():
    scores, accepted, p_values = torch.tensor([-2.0, -3.0]), torch.tensor([True, False]), torch.tensor([0.5, 0.01])
    first, second = predictions(["x", "y"], ["a", "b", "c"], LOGITS, scores, accepted, p_values.double(), 2)
    assert (first.path, first.label, first.unknown_score, first.p_value) == ("x", "a", -2.0, 0.5)
    assert (second.label, second.p_value) == (UNKNOWN, pytest.approx(0.01))
    assert [name for name, _ in first.top] == ["a", "c"] and second.top[0][0] == "b"
    for answer, logits in zip((first, second), LOGITS, strict=True):
        total = sum(float(torch.exp(value)) for value in logits)
        for name, probability in answer.top:
            assert probability == pytest.approx(float(torch.exp(logits["abc".index(name)])) / total)


def test_without_calibration_there_is_no_p_value_and_no_more_classes_are_told_than_there_are():
    answer = predictions(["x"], ["a", "b", "c"], LOGITS[:1], torch.zeros(1), torch.tensor([True]), None, 9)[0]
    assert answer.p_value is None and len(answer.top) == 3


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_pictures_are_answered_in_full_batches_and_stand_in_order(tmp_path, batch_size):
    colours = [(value, 0, 0) for value in (10, 20, 30, 40)]
    paths = []
    for number, colour in enumerate(colours):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (4, 4), colour).save(paths[-1])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    given = [paths[0], tmp_path / "broken.png", Image.new("RGB", (4, 4), (50, 0, 0)), *paths[1:]]
    sizes = []

    def answer(images, names, size):
        sizes.append(len(images))
        assert size == batch_size
        return [Prediction(name, str(int(image[0, 0, 0]))) for name, image in zip(names, images, strict=True)]

    def decode(photo):
        return torch.tensor(list(photo.upright().tobytes()), dtype=torch.uint8).view(4, 4, 3).permute(2, 0, 1)

    found = answer_pictures(given, decode, answer, batch_size)
    assert [each.label for each in found] == ["10", None, "50", "20", "30", "40"]
    assert found[1].error and not any(each.error for each in found if each is not found[1])
    assert found[2].path == "2" and found[0].path == str(paths[0])
    assert sizes == [batch_size] * (5 // batch_size) + ([5 % batch_size] if 5 % batch_size else [])


def first_pixels(given, **options):
    """The answers to some images: the colour of the first pixel, or the error."""

    def answer(images, names, size):
        return [Prediction(name, str(image[:, 0, 0].tolist())) for name, image in zip(names, images, strict=True)]

    def decode(photo):
        return torch.from_numpy(np.array(photo.upright())).permute(2, 0, 1)[:, :1, :1]

    return [each.error or each.label for each in answer_pictures(given, decode, answer, 8, **options)]


def test_arrays_and_encoded_bytes_are_pictures():
    colour = np.full((5, 4, 3), (10, 20, 30), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colour).save(buffer, "PNG")
    clear = np.dstack([colour, np.zeros((5, 4), np.uint8)])
    given = [colour, buffer.getvalue(), colour[..., :1], colour[..., 0], clear, np.full((4, 4), 2570, np.uint16)]
    grey = "[10, 10, 10]"
    assert first_pixels(given, ranges={"uint16": (0, 65535)}) == ["[10, 20, 30]"] * 2 + [grey] * 2 + [
        "[255, 255, 255]",
        grey,
    ]


def test_what_has_no_pixels_is_an_error_and_never_an_answer():
    empty = Image.new("RGB", (40, 36)).crop((10, 10, 10, 30))
    arrays = [np.zeros(shape, np.uint8) for shape in ((0, 20, 3), (20, 0, 3), (0,))]
    found = first_pixels([empty, Image.new("RGB", (3, 3)), *arrays])
    assert found[0] == "has no pixels (0x20)" and found[1] == "[0, 0, 0]"
    assert all("has no pixels" in error for error in found[2:])


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ((Image.new("RGB", (3, 3)), 0), "torchvision"),
        (torch.zeros(3, 3, 3), "one tensor"),
        (np.zeros((3, 8, 8), np.uint8), "colours in the order red, green, blue"),
        (np.zeros((8, 8, 3)), "float64"),
        (7, "image 0 is a int"),
    ],
)
def test_what_is_no_picture_is_told_what_would_be_one(given, hint):
    with pytest.raises(TypeError, match=hint):
        first_pixels([given])


def test_no_class_is_told_if_none_is_asked_for():
    answer = predictions(["x"], ["a", "b", "c"], LOGITS[:1], torch.zeros(1), torch.tensor([True]), None, 0)[0]
    assert (answer.label, answer.top) == ("a", [])
