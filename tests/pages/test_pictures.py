"""Small pictures inside the page."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.pages.pictures import SIDE, data_uri, hatched, outlined, place_of, spotlight, thumbnail

RANDOM = np.random.default_rng(0)


def noise(width, height):
    return Image.fromarray(RANDOM.integers(0, 255, (height, width, 3)).astype(np.uint8))


@pytest.mark.parametrize("size", [(8, 8), (32, 40), (500, 100), (160, 160), (1, 900)])
def test_a_thumbnail_is_the_central_square(size):
    small = thumbnail(noise(*size))
    assert small.size == (SIDE, SIDE) and small.mode == "RGB"


def test_a_thumbnail_leaves_the_edges_of_a_long_picture_out():
    picture = Image.new("RGB", (400, 100), "red")
    picture.paste("lime", (150, 0, 250, 100))
    assert np.asarray(thumbnail(picture))[:, :, 0].max() < 60


def test_the_spotlight_is_on_the_evidence():
    picture = Image.new("RGB", (SIDE, SIDE), (200, 100, 50))
    evidence = torch.zeros(4, 4)
    evidence[:2, :2] = 1
    lit = np.asarray(spotlight(picture, evidence)).astype(int)
    assert lit[10, 10].tolist() == [200, 100, 50]
    assert lit[150, 150].sum() < 0.5 * sum((200, 100, 50)) and np.ptp(lit[150, 150]) <= 14
    # A white line runs around the half, in both directions.
    white = (lit == 255).all(2)
    assert white[:, :60].any() and white[:60].any() and not white[100:, 100:].any()


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (slice(0, 2), slice(0, 2), "at the upper left"),
        (slice(6, 8), slice(6, 8), "at the lower right"),
        (slice(3, 5), slice(3, 5), "in the middle"),
        (slice(3, 5), slice(0, 2), "at the left side"),
        (slice(0, 2), slice(3, 5), "at the upper side"),
    ],
)
def test_where_evidence_lies_in_words(rows, columns, words):
    evidence = torch.zeros(8, 8)
    evidence[rows, columns] = 0.7
    assert place_of(evidence) == words


def test_no_evidence_lies_nowhere():
    assert place_of(torch.zeros(8, 8)) is None
    lit = np.asarray(spotlight(Image.new("RGB", (SIDE, SIDE), "white"), torch.zeros(8, 8)))
    assert lit.max() < 120


@pytest.mark.parametrize(("lossless", "kind"), [(False, "jpeg"), (True, "png")])
def test_an_address_holds_the_picture(lossless, kind):
    picture = noise(SIDE, SIDE)
    address = data_uri(picture, lossless=lossless)
    head, _, content = address.partition(",")
    assert head == f"data:image/{kind};base64"
    again = Image.open(io.BytesIO(base64.b64decode(content)))
    assert again.size == (SIDE, SIDE)
    assert np.array_equal(np.asarray(again), np.asarray(picture)) == lossless
    assert len(address) < 30_000 or lossless


def test_a_frame_is_drawn_on_a_copy():
    picture = Image.new("RGB", (SIDE, SIDE), "gray")
    framed = np.asarray(outlined(picture, (0.25, 0.5, 0.5, 0.75)))
    assert (framed[80, 40:80] == 0).all() and (framed[81, 42:78] == 255).all()
    assert (np.asarray(picture) == 128).all()


def test_hatching_hides_an_area_and_leaves_the_rest():
    picture = noise(SIDE, SIDE)
    where = torch.zeros(2, 2, dtype=torch.bool)
    where[0, 1] = True
    shown, half = np.asarray(hatched(picture, where)), SIDE // 2
    before = np.asarray(picture)
    assert np.array_equal(shown[half:], before[half:]) and np.array_equal(shown[:, :half], before[:, :half])
    assert {tuple(colour) for colour in shown[:half, half:].reshape(-1, 3)} == {(255, 255, 255), (40, 44, 60)}
