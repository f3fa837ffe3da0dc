import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from backmix.data import near_duplicates
from backmix.data.folder import FolderSource
from backmix.data.images import ImageError
from backmix.data.load import load_source
from backmix.data.near_duplicates import find_near_duplicates
from backmix.errors import DataError

REAL = os.environ.get("BACKMIX_DATA")


class Pictures:
    """Pictures in memory; None cannot be read."""

    def __init__(self, pictures, labels=None):
        self.pictures = pictures
        self.classes = ["a", "b"]
        self.labels = torch.zeros(len(pictures), dtype=torch.int64) if labels is None else torch.tensor(labels)

    def __len__(self):
        return len(self.pictures)

    def read(self, i):
        if self.pictures[i] is None:
            raise ImageError(str(i), "broken")
        return self.pictures[i]

    def read_mask(self, i):
        return None

    def name(self, i):
        return str(i)


def photograph(seed, size=(120, 90)):
    """Smooth colours at several scales with a few things in front."""
    random = np.random.default_rng(seed)
    layers = np.zeros((size[1], size[0], 3))
    for cells, strength in ((2, 60), (5, 40), (11, 25), (24, 12)):
        noise = (random.random((cells, cells, 3)) * 255).astype(np.uint8)
        layers += strength / 100 * (np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)) - 128.0)
    picture = Image.fromarray((128 + layers).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(6):
        x, y, w, h = (random.random(4) * [size[0], size[1], size[0] / 3, size[1] / 3]).astype(int).tolist()
        draw.ellipse([x, y, x + w + 4, y + h + 4], fill=tuple(random.integers(0, 256, 3).tolist()))
    return picture


def noise(seed, size, spread=20):
    return Image.fromarray(np.random.default_rng(seed).normal(120, spread, (*size, 3)).clip(0, 255).astype(np.uint8))


def flat(*colour, size=(50, 40)):
    return Image.new("RGB", size, colour)


def gradient(low, high):
    ramp = np.linspace(low, high, 100)[None, :, None].repeat(80, 0).repeat(3, 2)
    return Image.fromarray(ramp.astype(np.uint8))


def dial(angle):
    picture = Image.new("RGB", (256, 256))
    draw = ImageDraw.Draw(picture)
    draw.ellipse([28, 28, 228, 228], outline="white", width=12)
    draw.pieslice([60, 60, 196, 196], 0, angle, fill="silver")
    return picture


def as_jpeg(picture, quality=50):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def cut(picture, share=0.03):
    across, down = round(picture.width * share), round(picture.height * share)
    return picture.crop((across, down, picture.width - across, picture.height - down))


def resized(picture, factor=0.5):
    return picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.BICUBIC)


def brighter(picture, factor=1.1):
    return ImageEnhance.Brightness(picture).enhance(factor)


COPIES = {
    "exact": lambda picture: picture.copy(),
    "JPEG": as_jpeg,
    "half": resized,
    "twice": lambda picture: resized(picture, 2),
    "mirror": ImageOps.mirror,
    "brighter": brighter,
    "darker": lambda picture: brighter(picture, 0.9),
    "cut": cut,
    "cut on one side": lambda picture: picture.crop((5, 0, picture.width, picture.height)),
    "all": lambda picture: as_jpeg(resized(ImageOps.mirror(cut(brighter(picture))), 0.7)),
}


def groups_of(*pictures, **options):
    return find_near_duplicates(Pictures(list(pictures)), **options).tolist()


def partition(groups):
    return {frozenset(np.flatnonzero(np.array(groups) == group).tolist()) for group in set(groups)}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_among_other_photographs(kind):
    originals = [photograph(seed) for seed in range(12)]
    groups = groups_of(*originals, *map(COPIES[kind], originals))
    assert groups == [*range(12), *range(12)]


def test_different_pictures_stay_apart():
    pictures = [
        *(photograph(seed) for seed in range(30)),
        *(photograph(seed, (32, 32)) for seed in range(100, 110)),
        *(noise(seed, (40, 40)) for seed in range(5)),
        *(noise(seed, (500, 400)) for seed in range(5)),
        *(noise(seed, (600, 600), 5) for seed in range(3)),
        *(flat(value, value, value) for value in range(0, 256, 15)),
        *(flat(*colour) for colour in [(200, 90, 90), (90, 200, 90), (90, 90, 200)]),
        *(gradient(*ends) for ends in [(0, 255), (0, 120), (100, 160)]),
        dial(20),
        dial(60),
    ]
    assert groups_of(*pictures) == list(range(len(pictures)))


def test_a_texture_too_fine_to_show_is_no_plain_colour():
    squares = np.indices((64, 64)).sum(0) % 2 * 254
    assert groups_of(Image.fromarray(squares.astype(np.uint8)).convert("RGB"), flat(127, 127, 127)) == [0, 1]


def test_plain_colours_are_compared_by_colour():
    pictures = [flat(40, 80, 120), flat(240, 240, 240), as_jpeg(flat(40, 80, 120, size=(90, 90))), flat(40, 80, 90)]
    assert groups_of(*pictures) == [0, 1, 0, 2]
    assert groups_of(gradient(50, 80), gradient(80, 50), gradient(50, 90)) == [0, 0, 1]
    whites = [flat(250, 250, 250) for _ in range(40)]
    for number, white in enumerate(whites):
        white.putpixel((number, 0), (251, 251, 251))
    assert groups_of(*pictures, *whites) == [0, 1, 0, 2, *[3] * 40]


def test_labels_play_no_part():
    source = Pictures([photograph(0), photograph(1), as_jpeg(photograph(0))], [0, 0, 1])
    assert find_near_duplicates(source).tolist() == [0, 1, 0]


def test_agrees_with_comparing_everything_with_everything():
    random = np.random.default_rng(0)
    pictures = [photograph(seed) for seed in range(8)]
    for _ in range(16):
        pictures.append(COPIES[random.choice(list(COPIES))](pictures[random.integers(8)]))
    order = random.permutation(len(pictures))
    pictures = [pictures[i] for i in order]
    assert partition(groups_of(*pictures)) == slow_partition(pictures)


def slow_partition(pictures):
    """Try several cuts of each picture, and its mirror image, on each other one."""

    def thumbnail(picture, share):
        grey = np.asarray(cut(picture, share).convert("L").resize((24, 24), Image.Resampling.BOX), np.float64)
        return (grey - grey.mean()).ravel() / np.linalg.norm(grey - grey.mean())

    variants = []
    for picture in pictures:
        left = [picture.crop((pixels, 0, picture.width, picture.height)) for pixels in (0, 5)]
        both = [side for part in left for side in (part, ImageOps.mirror(part))]
        variants.append([thumbnail(side, share) for side in both for share in (0, 0.015, 0.03, 0.045, 0.06)])
    groups = list(range(len(pictures)))
    for i in range(len(pictures)):
        for j in range(i):
            if max(a @ b for a in variants[i] for b in variants[j]) > 0.93:
                groups = [groups[j] if group == groups[i] else group for group in groups]
    return partition(groups)


def test_look_alikes_are_no_endless_chain():
    turned = [dial(angle) for angle in range(20, 350, 8)]
    assert groups_of(*turned[:12]) == [0] * 12
    assert max(np.bincount(groups_of(*turned))) < 12


def test_a_long_burst_is_one_group():
    frames = [
        as_jpeg(brighter(photograph(0), factor), quality) for factor in (0.97, 1, 1.03) for quality in range(60, 80)
    ]
    others = [photograph(seed) for seed in range(1, 6)]
    assert groups_of(*others, *frames) == [*range(5), *[5] * 60]


def test_unreadable_images_have_groups_of_their_own(tmp_path):
    for name in ("1", "3"):
        photograph(0).save(tmp_path / f"{name}.png")
    for name in ("0", "2"):
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    for file in sorted(tmp_path.glob("*.png")):
        file.rename(tmp_path / "ab"[int(file.stem) % 2] / file.name)
    source = FolderSource(tmp_path)
    names = [Path(source.name(i)).stem for i in range(4)]
    assert names == ["0", "2", "1", "3"]
    assert find_near_duplicates(source).tolist() == [0, 1, 2, 2]
    assert groups_of(None, None) == [0, 1]


def test_large_jpegs_are_decoded_to_fewer_pixels_and_their_copies_found(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    large = photograph(0, (2404, 1803))
    exif = Image.Exif()
    exif[274] = 6
    large.save(tmp_path / "a" / "0.jpg", quality=90)
    large.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a" / "1.jpg", quality=90, exif=exif)
    large.resize((300, 225)).save(tmp_path / "b" / "2.png")
    photograph(1, (2404, 1803)).save(tmp_path / "b" / "3.jpg", quality=90)
    source = FolderSource(tmp_path)
    sides = []
    real = FolderSource.read_photo

    def read(self, i, at_least):
        photo = real(self, i, at_least)
        sides.append(min(photo.pixels.size))
        return photo

    monkeypatch.setattr(FolderSource, "read_photo", read)
    assert find_near_duplicates(source, workers=1).tolist() == [0, 0, 0, 1]
    assert sides == [902, 902, 225, 902]


def test_positions():
    source = Pictures([photograph(0), photograph(1), as_jpeg(photograph(0)), photograph(2)])
    assert find_near_duplicates(source, [3, 2, 0]).tolist() == [0, 1, 1]
    assert find_near_duplicates(source, torch.tensor([1, 3, 1])).tolist() == [0, 1, 0]
    for none in (find_near_duplicates(source, []), find_near_duplicates(Pictures([]))):
        assert none.tolist() == [] and none.dtype == torch.int64
    assert find_near_duplicates(source, [2]).tolist() == [0]
    with pytest.raises(DataError, match="indices go from 0 to 4, but the source has 4"):
        find_near_duplicates(source, [0, 4])


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (700, 1), (1300, 900)])
def test_odd_sizes(size):
    assert groups_of(flat(10, 200, 30, size=size), flat(200, 10, 30, size=size), photograph(0, size)) == [0, 1, 2]


def test_result_depends_on_the_pictures_alone(monkeypatch):
    pictures = [photograph(seed // 2, (60, 50)) for seed in range(80)]
    seen = []
    once = groups_of(*pictures, workers=1, progress=seen.append)
    assert seen == [64, 80]
    assert once == [seed // 2 for seed in range(80)] == groups_of(*pictures, workers=3)
    monkeypatch.setattr(near_duplicates, "_BLOCK", 16 * 80)
    assert groups_of(*pictures) == once
    order = np.random.default_rng(0).permutation(80)
    turned = groups_of(*(pictures[i] for i in order))
    assert {frozenset(order[list(group)].tolist()) for group in partition(turned)} == partition(once)
    with pytest.raises(ValueError, match="workers must be at least 1; got 0"):
        groups_of(*pictures, workers=0)


@pytest.mark.parametrize("spread", [4, 8, 30])
def test_fine_textures_of_one_mean_colour_in_large_files_are_no_copies(tmp_path, spread):
    """Decoding such a JPEG at a quarter would smooth its grain away, and leave plain colour."""
    (tmp_path / "stone").mkdir(), (tmp_path / "wall").mkdir()
    for seed in range(3):
        grain = np.random.default_rng(seed).normal(120, spread, (2200, 2200, 1)) + np.zeros(3)
        picture = Image.fromarray(grain.clip(0, 255).astype(np.uint8))
        picture.save(tmp_path / ("stone", "wall")[seed % 2] / f"{seed}.jpg", quality=92)
    assert find_near_duplicates(FolderSource(tmp_path)).tolist() == [0, 1, 2]


@pytest.mark.skipif(not REAL, reason="BACKMIX_DATA is not set")
def test_real_photographs():
    groups = find_near_duplicates(load_source(Path(REAL) / "caltech101", "train"))
    sizes = torch.bincount(groups)
    # Looked at: a menorah three times, leopards and their mirror images, a minaret, a lotus, a Buddha.
    assert 8 <= int((sizes > 1).sum()) <= 10 and int(sizes.max()) == 3
    look_alikes = find_near_duplicates(load_source(Path(REAL) / "eth80", "train"), range(300))
    assert int(torch.bincount(look_alikes).max()) <= 20
