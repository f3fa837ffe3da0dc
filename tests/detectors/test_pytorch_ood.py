"""The adapter against pytorch-ood called directly, the sign of every score, and what it refuses."""

import builtins
import subprocess
import sys

import pytest
import torch
from torch import nn

from backmix.detectors import DETECTORS, WRAPPED, PytorchOOD
from backmix.detectors.fitting import TrainingOutputs, evenly_spread, ready_detector
from backmix.detectors.pytorch_ood import Whitening
from backmix.detectors.wrapped import LEFT_OUT
from backmix.metrics import open_set_metrics
from backmix.network import create_network
from backmix.preprocess import Preprocess

ood = pytest.importorskip("pytorch_ood.detector")

CLASSES, CHANNELS = 5, 32
ON_OUTPUTS = [name for name, spec in WRAPPED.items() if not spec.looks.needs_images]
ON_IMAGES = [name for name, spec in WRAPPED.items() if spec.looks.needs_images]


def known(count, seed):
    """Class clusters of non-negative features, as behind a ReLU."""
    centres = 4 * torch.randn(CLASSES, CHANNELS, generator=torch.Generator().manual_seed(0)).relu()
    labels = torch.arange(count) % CLASSES
    noise = torch.randn(count, CHANNELS, generator=torch.Generator().manual_seed(seed))
    return (centres[labels] + 0.5 * noise).relu(), labels


TRAINING, LABELS = known(600, 1)
TEST = known(200, 2)[0]
UNKNOWN = torch.randn(200, CHANNELS, generator=torch.Generator().manual_seed(3)).abs()


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(0)
    head = nn.Linear(CHANNELS, CLASSES)
    optimizer = torch.optim.Adam(head.parameters(), 0.05, weight_decay=1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(TRAINING), LABELS).backward()
        optimizer.step()
    return head.requires_grad_(False)


def made(name, head, **options):
    more = {"weight": head.weight, "bias": head.bias} if WRAPPED[name].looks.needs_head else {}
    return DETECTORS[name](**more, **options)


def fitted(name, head, **options):
    detector = made(name, head, **options)
    detector.fit(head(TRAINING), TRAINING, LABELS)
    return detector


def maps(features):
    return features[:, :, None, None]


def directly(name, head):
    """Scores of TEST, by pytorch-ood alone."""
    flat = nn.Sequential(nn.Flatten(), head)
    logits, seen = head(TRAINING).double(), head(TEST).double()
    match name:
        case "entropy":
            return ood.Entropy(None).predict_logits(seen)
        case "gen":
            return ood.GEN(None).predict_logits(seen)
        case "kl_matching":
            return ood.KLMatching(None).fit_logits(logits, LABELS).predict_logits(seen)
        case "temperature_scaling":
            return ood.TemperatureScaling(None).fit_logits(logits, LABELS).predict_logits(seen).detach()
        case "knn":
            return ood.KNN(None, k=50).fit_features(TRAINING, LABELS).predict_features(TEST)
        case "mahalanobis":
            return ood.Mahalanobis(None).fit_features(TRAINING, LABELS).predict_features(TEST)
        case "rmd":
            return ood.RMD(None).fit_features(TRAINING, LABELS).predict_features(TEST)
        case "gmm":
            return ood.GMM(None).fit_features(TRAINING, LABELS).predict_features(TEST)
        case "vim":
            vim = ood.ViM(None, CHANNELS // 2, head.weight, head.bias)
            return vim.fit_features(TRAINING, LABELS).predict_features(TEST)
        case "dice":
            return ood.DICE(None, head.weight, head.bias, 0.9).fit_features(TRAINING, LABELS).predict_features(TEST)
        case "nnguide":
            return ood.NNGuide(None, head).fit_features(TRAINING, LABELS).predict_features(TEST)
        case "she":
            return ood.SHE(None, head).fit_features(TRAINING, LABELS).predict_features(TEST)
        case "fdbd":
            return ood.fDBD(None, head).fit_features(TRAINING).predict_features(TEST)
        case "nci":
            return ood.NCI(None, head).fit_features(TRAINING).predict_features(TEST)
        case "pnml":
            return ood.PNML(None, head).fit_features(TRAINING, LABELS).predict_features(TEST)
        case "lts":
            return ood.LTS(None, head).predict_features(TEST)
        case "react":
            return ood.ReAct(None, flat).fit_feature_maps(maps(TRAINING), LABELS).predict_feature_maps(maps(TEST))
        case "vra":
            return ood.VRA(None, flat).fit_feature_maps(maps(TRAINING), LABELS).predict_feature_maps(maps(TEST))
        case "ash":
            return ood.ASH(None, flat).predict_feature_maps(maps(TEST))
        case "scale":
            return ood.SCALE(None, flat).predict_feature_maps(maps(TEST))


@pytest.mark.parametrize("name", [name for name in ON_OUTPUTS if name not in ("gradnorm", "grad_uncertainty", "nac")])
def test_agrees_with_pytorch_ood_called_directly(name, head):
    expected = directly(name, head)
    found = fitted(name, head)(head(TEST), TEST)
    assert found.shape == (200,)
    # Ours whitens the features first, and pytorch-ood inverts the covariance in float32.
    tolerance = {"rtol": 1e-3, "atol": 1e-3 * expected.std().item()} if WRAPPED[name].whiten else {}
    torch.testing.assert_close(found, expected, check_dtype=False, **tolerance)


def test_gradients_at_the_head_agree_with_a_loop(head):
    logits = head(TEST)
    p = logits.softmax(1)
    slow = [
        -float((torch.outer(q - 1 / CLASSES, f)).abs().sum()) for q, f in zip(p.double(), TEST.double(), strict=True)
    ]
    assert fitted("gradnorm", head)(logits, TEST).tolist() == pytest.approx(slow, rel=1e-3, abs=1e-4)
    slow = []
    for f in TEST[:50]:
        weight = head.weight.clone().requires_grad_()
        q = (weight @ f + head.bias).softmax(0)
        nn.functional.binary_cross_entropy(q, torch.ones(CLASSES), reduction="sum").backward()
        slow.append(-float(weight.grad.square().sum()))
    found = fitted("grad_uncertainty", head)(logits, TEST)[:50].tolist()
    assert found == pytest.approx(slow, rel=1e-3, abs=1e-4)


def test_coverage_of_neurons_is_counted_at_the_pooled_features(head):
    """Unseen states count as uncovered, and images of the fit as covered."""
    detector = fitted("nac", head)
    inside, outside = detector(head(TRAINING), TRAINING), detector(head(UNKNOWN), UNKNOWN)
    assert inside.min() >= -1 and outside.max() <= 0 and inside.mean() < outside.mean()


@pytest.mark.parametrize("name", ON_OUTPUTS)
def test_far_unknowns_are_told_from_class_clusters(name, head):
    detector = fitted(name, head)
    logits = head(TEST)
    figures = open_set_metrics(
        detector(logits, TEST), logits.argmax(1) == LABELS[:200], detector(head(UNKNOWN), UNKNOWN)
    )
    assert figures["auroc"] > 0.9


@pytest.mark.parametrize("name", ON_OUTPUTS)
def test_images_do_not_depend_on_each_other_nor_on_the_call(name, head):
    detector, logits = fitted(name, head), head(TEST)
    before = logits.clone(), TEST.clone()
    whole = detector(logits, TEST)
    assert torch.equal(whole, detector(logits, TEST))
    parts = torch.cat([detector(logits[i : i + 7], TEST[i : i + 7]) for i in range(0, 200, 7)])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)
    assert detector(logits[:0], TEST[:0]).shape == (0,)
    assert torch.equal(logits, before[0]) and torch.equal(TEST, before[1])
    with torch.inference_mode():
        torch.testing.assert_close(detector(head(TEST), TEST + 0), whole)


@pytest.mark.parametrize("name", ON_OUTPUTS)
def test_large_batches_are_cut_up(name, head, monkeypatch):
    whole = fitted(name, head)(head(TEST), TEST)
    monkeypatch.setattr("backmix.detectors.pytorch_ood.CHUNK", 30 * CLASSES * CHANNELS)
    torch.testing.assert_close(fitted(name, head)(head(TEST), TEST), whole, rtol=1e-4, atol=1e-5)


def test_every_detector_of_pytorch_ood_is_wrapped_or_left_out_with_a_reason():
    there = {name for name in ood.__all__ if isinstance(getattr(ood, name), type)}
    wrapped = [spec.cls for spec in WRAPPED.values()]
    assert set(wrapped) | set(LEFT_OUT) == there
    assert len(wrapped) == len(set(wrapped)) and not set(wrapped) & set(LEFT_OUT)


def test_mahalanobis_survives_fewer_images_than_dimensions():
    """pytorch-ood's own inverse in float32 gives negative distances there."""
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(3, 200, generator=generator)
    labels = torch.arange(90) % 3
    features = centres[labels] + torch.randn(90, 200, generator=generator)
    test = centres[labels] + torch.randn(90, 200, generator=generator)
    far = 3 * torch.randn(90, 200, generator=generator)
    for name in ("mahalanobis", "rmd"):
        detector = DETECTORS[name]()
        logits = torch.rand(90, 3)
        detector.fit(logits, features, labels)
        inside, outside = detector(logits, test), detector(logits, far)
        figures = open_set_metrics(inside, torch.ones(90, dtype=torch.bool), outside)
        assert figures["auroc"] > 0.9
        # The pseudo-inverse, in float64.
        means = torch.stack([features[labels == k].double().mean(0) for k in range(3)])
        precision = torch.linalg.pinv((features.double() - means[labels]).T @ (features.double() - means[labels]), 1e-6)
        slow = [min(float((f - m) @ precision @ (f - m)) for m in means) for f in test.double()]
        if name == "mahalanobis":
            assert inside.tolist() == pytest.approx([d / 2 for d in slow], rel=1e-4)


def test_mahalanobis_needs_features_that_vary():
    with pytest.raises(ValueError, match="mahalanobis: the features of no class vary"):
        DETECTORS["mahalanobis"]().fit(torch.eye(3), torch.rand(3, 8), torch.arange(3))


def test_whitened_features_have_unit_covariance_within_classes():
    white = Whitening(TRAINING, LABELS)(TRAINING)
    within = white - torch.stack([white[k == LABELS].mean(0) for k in range(CLASSES)])[LABELS]
    assert white.dtype == torch.float32
    torch.testing.assert_close(within.T @ within / len(white), torch.eye(white.shape[1]), rtol=0, atol=1e-4)


def test_the_number_of_neighbours_follows_the_smallest_class():
    features, labels = known(30, 4)
    detector = DETECTORS["knn"]()
    detector.fit(torch.rand(30, CLASSES), features, labels)
    assert detector.inner.k == 6
    asked = DETECTORS["knn"](k=3)
    asked.fit(torch.rand(30, CLASSES), features, labels)
    assert asked.inner.k == 3


def test_options_are_pytorch_oods(head):
    plain, other = fitted("vim", head), fitted("vim", head, d=4)
    assert plain.inner.d == CHANNELS // 2 and other.inner.d == 4
    with pytest.raises(ValueError, match="ash: .*sharpness"):
        made("ash", head, sharpness=2)(head(TEST), TEST)


def test_what_is_missing_is_said(head):
    for name in ("knn", "vim", "she", "nac"):
        with pytest.raises(ValueError, match=f"{name}: fit it on training images first"):
            made(name, head)(head(TEST), TEST)
    with pytest.raises(ValueError, match="vim: looks at a linear head: give its weight and bias"):
        DETECTORS["vim"]().fit(head(TRAINING), TRAINING, LABELS)
    with pytest.raises(ValueError, match="rmd: no training image of class number 4"):
        DETECTORS["rmd"]().fit(head(TRAINING), TRAINING, LABELS.clamp(max=3))
    with pytest.raises(ValueError, match="nnguide: Need at least k=10"):
        made("nnguide", head).fit(head(TRAINING[:5]), TRAINING[:5], LABELS[:5])


def test_a_head_that_does_not_give_the_logits_is_refused(head):
    """A method may scale its logits, or take them from elsewhere."""
    for name in ("she", "scale"):
        with pytest.raises(
            ValueError, match=f"{name} looks at a linear head on pooled features, and the logits of this"
        ):
            made(name, head).fit(3 * head(TRAINING), TRAINING, LABELS)
        with pytest.raises(
            ValueError, match=f"{name} looks at a linear head on pooled features, and the logits of this"
        ):
            fitted(name, head)(head(TEST).flip(1), TEST)


def test_a_missing_package_is_named(monkeypatch):
    whole = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pytorch_ood"):
            raise ImportError(name)
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r'detector knn comes from pytorch-ood.*pip install "backmix\[detectors\]"'):
        DETECTORS["knn"]()
    DETECTORS["openmax"]()


def test_one_made_loads_pytorch_ood_and_none_does_not():
    code = """
import sys
from backmix.detectors import DETECTORS
assert "pytorch_ood" not in sys.modules
DETECTORS["openmax"]()
assert "pytorch_ood" not in sys.modules
DETECTORS["gen"]()
assert "pytorch_ood" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# Detectors that look at images.

PREPROCESS = Preprocess(32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = create_network("vgg32", "softmax", 3, image_size=32, model_options={"width": 0.125})
    with torch.no_grad():  # Running statistics that are not the identity.
        for _ in range(3):
            network(torch.randn(32, 3, 32, 32))
    return network.eval()


def images(count=6, seed=0):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def outputs_of(network, count=60):
    with torch.no_grad():
        maps = network.backbone(images(count, seed=9))
        return TrainingOutputs.of(network.head.logits(maps), network.head.pooled(maps), torch.arange(count) % 3)


def logits_of(network):
    return lambda x: network.head.logits(network.backbone(x))


def on_images(name, network):
    kept = outputs_of(network)
    return ready_detector(name, network, PREPROCESS, lambda: kept)


@pytest.mark.parametrize("name", ON_IMAGES)
def test_images_are_scored_without_a_trace(name, network):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    detector, x = on_images(name, network), images()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    kept = x.clone()
    first = detector.score_images(x)
    assert first.shape == (6,) and first.isfinite().all() and len(first.unique()) > 1 and not first.requires_grad
    torch.randn(3)
    with torch.inference_mode():
        assert torch.equal(detector.score_images(x + 0), first)
    with torch.no_grad():
        assert torch.equal(detector.score_images(x), first)
    assert torch.equal(x, kept) and detector.score_images(x[:0]).shape == (0,)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert not any(module.training for module in network.modules())
    torch.manual_seed(5)
    detector.score_images(x)
    assert torch.equal(torch.get_rng_state(), state)


def test_odin_agrees_with_its_formula(network):
    x, model = images().requires_grad_(), logits_of(network)
    z = model(x) / 1000
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(z, z.argmax(1), reduction="sum"), x)
    stepped = x - 0.0014 * gradient.sign() / torch.tensor(PREPROCESS.std)[:, None, None]
    expected = -(model(stepped) / 1000).softmax(1).amax(1)
    torch.testing.assert_close(on_images("odin", network).score_images(images()), expected.detach(), rtol=1e-6, atol=0)


def test_rankfeat_agrees_with_its_formula(network):
    scores = on_images("rankfeat", network).score_images(images().to(memory_format=torch.channels_last))
    with torch.no_grad():
        maps = network.backbone(images())
        for found, one in zip(scores, maps, strict=True):
            u, s, v = torch.linalg.svd(one.flatten(1), full_matrices=False)
            rest = one.flatten(1) - s[0] * torch.outer(u[:, 0], v[0])
            expected = -network.head.logits(rest.view_as(one)[None]).logsumexp(1)
            torch.testing.assert_close(found, expected[0], rtol=1e-4, atol=1e-5)


def test_mahalanobis_of_stepped_images_without_a_step_is_mahalanobis(network):
    kept = outputs_of(network)
    detector = DETECTORS["mahalanobis_odin"](eps=0.0)
    detector.attach(network.head, network.backbone, PREPROCESS)
    detector.fit(kept.logits, kept.features.float(), kept.labels)
    plain = ready_detector("mahalanobis", network, PREPROCESS, lambda: kept)
    with torch.no_grad():
        maps = network.backbone(images())
    expected = plain(network.head.logits(maps), network.head.pooled(maps))
    torch.testing.assert_close(detector.score_images(images()), expected, rtol=1e-3, atol=1e-4)
    # A step towards the nearest class.
    assert (on_images("mahalanobis_odin", network).score_images(images()) < expected).all()


def test_dropout_is_what_mcd_looks_at(network):
    assert (on_images("mcd", network).score_images(images()) > 0).all()
    dry = create_network("vgg32", "softmax", 3, image_size=32, model_options={"width": 0.125, "dropout": 0.0})
    with pytest.raises(ValueError, match="mcd: looks at how dropout changes the answers, and this network has none"):
        ready_detector("mcd", dry, PREPROCESS, None)


def test_what_images_need_is_said(network):
    for name in ON_IMAGES:
        assert DETECTORS[name]().needs_images
        with pytest.raises(ValueError, match=f"{name}: attach it to a network first"):
            DETECTORS[name]().score_images(images())
        with pytest.raises(ValueError, match=f"{name} looks at images; call score_images"):
            DETECTORS[name]()(torch.rand(2, 3), torch.rand(2, 8))
    unfitted = ready_detector("mahalanobis_odin", network, PREPROCESS, None)
    with pytest.raises(ValueError, match="mahalanobis_odin: fit it on training images first"):
        unfitted.score_images(images())


# Detectors made ready for a network.


def test_the_head_is_that_of_the_method(network):
    kept = outputs_of(network)
    with torch.no_grad():
        maps = network.backbone(images())
        logits, features = network.head.logits(maps), network.head.pooled(maps)
    found = ready_detector("nnguide", network, PREPROCESS, lambda: kept)(logits, features)
    head = network.head.head
    other = PytorchOOD("nnguide", weight=head.weight, bias=head.bias)
    other.fit(kept.logits, kept.features.float(), kept.labels)
    assert torch.equal(found, other(logits, features))


def test_a_head_with_rows_for_more_than_the_known_classes_gives_those_of_the_known(network):
    torch.manual_seed(0)
    more = create_network("compact-s", "softmax", 3, image_size=32, model_options={"width": 0.25})
    wide = nn.Linear(more.head.num_features, 5)
    more.head.logits = lambda maps: wide(maps.mean((2, 3)))[:, :3]
    more.head.head = wide
    detector = ready_detector("lts", more, PREPROCESS, None)
    assert torch.equal(detector.head.weight, wide.weight[:3]) and torch.equal(detector.head.bias, wide.bias[:3])
    assert more.training  # As it was found.
    more.head.logits = lambda maps: wide(maps.mean((2, 3)))[:, 2:]
    with pytest.raises(
        ValueError, match="lts looks at a linear head on pooled features, and the logits of this method"
    ):
        ready_detector("lts", more, PREPROCESS, None)
    more.head.head = nn.Linear(more.head.num_features, 2)
    with pytest.raises(ValueError, match="lts looks at a linear head, and method softmax has none"):
        ready_detector("lts", more, PREPROCESS, None)


def test_a_head_without_bias_has_one_of_zeros():
    network = create_network("compact-s", "softmax", 3, image_size=32, method_options={"bias": False})
    detector = ready_detector("ash", network, PREPROCESS, None)
    assert torch.equal(detector.head.bias, torch.zeros(3))


def test_what_is_fitted_on_nothing_is_refused(network):
    with pytest.raises(ValueError, match="knn is fitted on training images, of which nothing was kept"):
        ready_detector("knn", network, PREPROCESS, lambda: None)
    with pytest.raises(ValueError, match="no detector 'kmm'"):
        ready_detector("kmm", network, PREPROCESS, None)
    ready_detector("gen", network, PREPROCESS, lambda: pytest.fail("asked for without need"))


def test_kept_features_are_halved_where_they_fit():
    logits, labels = torch.rand(4, 2), torch.tensor([0, 1, 0, 1])
    assert TrainingOutputs.of(logits, torch.rand(4, 3), labels).features.dtype == torch.float16
    large = torch.full((4, 3), 7e4)
    assert torch.equal(TrainingOutputs.of(logits, large, labels).features, large)


def test_an_even_spread_keeps_the_shares_of_the_classes():
    labels = torch.cat([torch.zeros(700), torch.ones(200), 2 * torch.ones(100)]).long()
    labels = labels[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    positions = torch.arange(1000) * 3
    chosen = evenly_spread(positions, labels, 100)
    assert len(chosen.unique()) == 100 and set(chosen.tolist()) <= set(positions.tolist())
    counts = labels[chosen // 3].bincount().tolist()
    assert all(abs(count - share) <= 1 for count, share in zip(counts, (70, 20, 10), strict=True))
    assert torch.equal(evenly_spread(positions, labels, 1000), positions)
