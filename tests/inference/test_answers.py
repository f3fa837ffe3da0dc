"""From what a network says to answers: each in its place, whatever cannot be read."""

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

    def decode(picture):
        return torch.tensor(list(picture.convert("RGB").tobytes()), dtype=torch.uint8).view(4, 4, 3).permute(2, 0, 1)

    found = answer_pictures(given, decode, answer, batch_size)
    assert [each.label for each in found] == ["10", None, "50", "20", "30", "40"]
    assert found[1].error and not any(each.error for each in found if each is not found[1])
    assert found[2].path == "2" and found[0].path == str(paths[0])
    assert sizes == [batch_size] * (5 // batch_size) + ([5 % batch_size] if 5 % batch_size else [])
