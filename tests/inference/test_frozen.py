"""Pooled features of a source: computed once, found afterwards, and unreadable images told."""

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.data.folder import FolderSource
from backmix.data.preprocess import Preprocess
from backmix.errors import DataError
from backmix.inference.frozen import FrozenFeatures
from backmix.inference.pooled_outputs import outputs_of, respond_to_pooled
from backmix.methods import METHODS
from backmix.methods.network import create_network
from backmix.models import create_backbone

PREPROCESS = Preprocess(32)


def make(seed: int = 0):
    torch.manual_seed(seed)
    return create_backbone("compact-s", image_size=32, width=0.25).eval()


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number:02d}.png")
    return tmp_path / "data"


@pytest.mark.parametrize("build", [False, True])
def test_features_are_those_of_the_network(folder, tmp_path, build):
    source, backbone = FolderSource(folder), make()
    frozen = FrozenFeatures(backbone, PREPROCESS, folder=tmp_path / "cache", build=build)
    done = []
    found = frozen.of(source, [5, 39, 0], on_images=done.append)
    images = torch.stack([PREPROCESS.decode(source.read(i)) for i in (5, 39, 0)])
    with torch.no_grad():
        expected = backbone(PREPROCESS.normalise(images)).mean((2, 3))
    torch.testing.assert_close(found.features, expected, atol=1e-5, rtol=1e-4)
    assert found.positions.tolist() == [5, 39, 0] and found.computed == 3 and done[-1] == 3 and not found.skipped
    assert torch.equal(frozen.of_images(images), found.features)


def test_only_new_images_are_computed(folder, tmp_path):
    cache = tmp_path / "cache"
    first = FrozenFeatures(make(), PREPROCESS, folder=cache).of(FolderSource(folder))
    assert first.computed == 40
    again = FrozenFeatures(make(), PREPROCESS, folder=cache).of(FolderSource(folder))
    assert again.computed == 0 and torch.equal(again.features, first.features)
    for number in range(10):
        Image.fromarray(np.full((40, 40, 3), 20 * number, np.uint8)).save(folder / "a" / f"new{number}.png")
    (folder / "b" / "00.png").rename(folder / "b" / "moved.png")
    grown = FrozenFeatures(make(), PREPROCESS, folder=cache).of(FolderSource(folder))
    assert grown.computed == 10 and len(grown.features) == 50
    assert FrozenFeatures(make(1), PREPROCESS, folder=cache).of(FolderSource(folder), [0]).computed == 1, "weights"
    other = Preprocess(32, (0.4, 0.4, 0.4), (0.25, 0.25, 0.25))
    assert FrozenFeatures(make(), other, folder=cache).of(FolderSource(folder), [0]).computed == 1, "preprocessing"


def test_an_interrupted_pass_goes_on(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("backmix.inference.frozen.KEPT_AT_ONCE", 8)
    frozen = FrozenFeatures(make(), PREPROCESS, folder=tmp_path / "cache")

    def stop(done):
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frozen.of(FolderSource(folder), on_images=stop)
    rest = FrozenFeatures(make(), PREPROCESS, folder=tmp_path / "cache").of(FolderSource(folder))
    assert 0 < rest.computed <= 32 and len(rest.features) == 40


def test_unreadable_images_are_left_out_and_told(folder, tmp_path):
    (folder / "a" / "03.png").write_bytes(b"no picture")
    (folder / "b" / "05.png").unlink()
    (folder / "b" / "05.png").mkdir()
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        source = FolderSource(folder)
        frozen = FrozenFeatures(make(), PREPROCESS, folder=cache)
        found = frozen.of(source)
        bad = [i for i in range(len(source)) if source.name(i).endswith("a/03.png")]
        assert [name for name, _ in found.skipped] == [source.name(i) for i in bad]
        assert found.positions.tolist() == [i for i in range(len(source)) if i not in bad]
        with pytest.raises(DataError, match=r"no image could be read; 1 were tried\. The first: .*03.png"):
            frozen.of(source, bad)


def test_a_folder_that_cannot_be_written_loses_nothing(folder, tmp_path):
    (tmp_path / "file").touch()
    frozen = FrozenFeatures(make(), PREPROCESS, folder=tmp_path / "file")
    assert frozen.cache.note is not None
    first = frozen.of(FolderSource(folder))
    assert frozen.of(FolderSource(folder)).computed == 0 and first.computed == 40


@pytest.mark.parametrize("method", [name for name, of in METHODS.items() if of.on_pooled_features])
def test_a_method_answers_pooled_features_as_whole_maps(method):
    torch.manual_seed(0)
    network = create_network("compact-s", method, 3, image_size=32, model_options={"width": 0.25}).eval()
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        whole = network.head.respond(network.backbone, images)
        pooled = network.backbone(images).mean((2, 3))
    found = respond_to_pooled(network.head, pooled)
    for name in ("logits", "features", "score"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), atol=1e-5, rtol=1e-5)


def test_outputs_have_the_labels_of_their_positions(folder):
    network = create_network("compact-s", "softmax", 2, image_size=32, model_options={"width": 0.25}).eval()
    frozen = FrozenFeatures(network.backbone, PREPROCESS)
    labels = torch.arange(40) % 3 - 1
    outputs = outputs_of(network.head, frozen.of(FolderSource(folder), [7, 30, 2]), labels)
    assert outputs.labels.tolist() == labels[[7, 30, 2]].tolist() and outputs.positions.tolist() == [7, 30, 2]
    assert outputs.logits.shape == (3, 2) and outputs.features.shape == (3, network.backbone.num_features)
