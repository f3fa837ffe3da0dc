"""The adapter against pytorch-ood called directly, the sign of every score, and what it refuses."""

import builtins
import subprocess
import sys

import pytest
import torch
from torch import nn

from backmix.data.preprocess import Preprocess
from backmix.detectors import DETECTORS, METHOD, REWRITTEN, WRAPPED, Detector, MaxLogit, PytorchOOD
from backmix.detectors.fitting import cautions, ready_detector
from backmix.detectors.pytorch_ood_images import shared_dropout
from backmix.detectors.stages import stage_means
from backmix.detectors.training_outputs import TrainingOutputs, evenly_spread
from backmix.detectors.whitening import Whitening
from backmix.detectors.wrapped import LEFT_OUT
from backmix.methods.network import create_network
from backmix.metrics.figures import open_set_metrics

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
    if name == "gmm":  # A log-likelihood, of which whitening changes the constant.
        found, expected = found - found.mean(), expected - expected.mean()
    # Ours whitens the features first, and pytorch-ood inverts the covariance in float32, in which it also finds vim's
    # subspace; tests/detectors/test_vim.py and others compare with pytorch-ood in float64.
    rough = WRAPPED[name].whiten or name == "vim"
    tolerance = {"rtol": 1e-3, "atol": 1e-3 * expected.std().item()} if rough else {}
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


@pytest.mark.parametrize("name", ["gmm", "mahalanobis", "rmd"])
@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1e4])
def test_the_scale_of_the_features_does_not_count(name, scale):
    """pytorch-ood adds 1e-6 to variances, whatever their size."""
    logits = torch.rand(600, CLASSES)

    def scores(scale):
        detector = DETECTORS[name]()
        detector.fit(logits, scale * TRAINING, LABELS)
        return torch.cat([detector(logits[:200], scale * x) for x in (TEST, UNKNOWN)]).double()

    plain, scaled = scores(1.0), scores(scale)
    torch.testing.assert_close(scaled, plain, rtol=1e-3, atol=1e-3 * plain[:200].std().item())
    figures = open_set_metrics(scaled[:200], torch.ones(200, dtype=torch.bool), scaled[200:])
    assert figures["auroc"] > 0.9


class OnMps(torch.Tensor):
    """Says that it lies on MPS and is no more than that: no float64 until it is moved."""

    @property
    def device(self):
        return torch.device("mps")

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_whitening_goes_to_the_cpu_where_the_device_has_no_float64():
    white = Whitening(TRAINING, LABELS)
    found = white(TEST.as_subclass(OnMps))
    assert found.dtype == torch.float32
    assert torch.equal(found.as_subclass(torch.Tensor), white(TEST))


def test_some_scores_of_pytorch_ood_tie_where_the_network_is_sure():
    """As the documentation says of them, and not of ours."""
    logits = torch.zeros(5, 3)
    logits[:, 0] = torch.arange(40, 45)
    for name in ("gen", "entropy"):
        assert len(DETECTORS[name]()(logits, torch.rand(5, 8)).unique()) == 1
    for name in ("msp", "max_logit", "energy"):
        assert len(DETECTORS[name]()(logits).unique()) == 5


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
    assert detector.k == 6
    asked = DETECTORS["knn"](k=3)
    asked.fit(torch.rand(30, CLASSES), features, labels)
    assert asked.k == 3


def test_options_are_pytorch_oods(head):
    plain, other = fitted("vim", head), fitted("vim", head, d=4)
    assert plain.d == CHANNELS // 2 and other.d == 4
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
    with pytest.raises(ValueError, match=r'detector gen comes from pytorch-ood.*pip install "backmix\[detectors\]"'):
        DETECTORS["gen"]()
    for name in ("openmax", *REWRITTEN):
        DETECTORS[name]()


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
        maps, stages = stage_means(network.backbone, images(count, seed=9))
        logits, features = network.head.logits(maps), network.head.pooled(maps)
        return TrainingOutputs.of(logits, features, torch.arange(count) % 3, stages)


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
    torch.testing.assert_close(detector.score_images(images()), expected.float(), rtol=1e-3, atol=1e-4)
    # A step towards the nearest class.
    assert (on_images("mahalanobis_odin", network).score_images(images()) < expected).all()


def test_an_image_scores_the_same_wherever_it_stands_in_the_batch(network):
    x = images(8)
    for name in ON_IMAGES:
        detector = on_images(name, network)
        whole = detector.score_images(x)
        assert torch.equal(detector.score_images(x.flip(0)).flip(0), whole)
        others = detector.score_images(torch.cat([images(3, seed=4), x[:2]]))[3:]
        torch.testing.assert_close(others, whole[:2], rtol=1e-3, atol=1e-5)


def test_no_device_is_seeded_anew(network, monkeypatch):
    """`torch.manual_seed` seeds all of them, also those that another program part draws from."""
    for name in ("manual_seed", "seed"):
        monkeypatch.setattr(torch, name, lambda *_: pytest.fail("seeded"))
    monkeypatch.setattr(torch.random, "fork_rng", lambda *_: pytest.fail("forked"))
    for name in ON_IMAGES:
        on_images(name, network).score_images(images())


def test_dropout_is_what_mcd_looks_at(network):
    assert (on_images("mcd", network).score_images(images()) > 0).all()
    dry = create_network("vgg32", "softmax", 3, image_size=32, model_options={"width": 0.125, "dropout": 0.0})
    with pytest.raises(ValueError, match="mcd: looks at how dropout changes the answers, and this network has none"):
        ready_detector("mcd", dry, PREPROCESS, None)


def test_mcd_agrees_with_a_loop(network):
    """Over masks drawn one pass after the other, here by the places of Dropout2d."""
    x, layers = images(), network.backbone.layers
    generator = torch.Generator().manual_seed(0)
    answers = []
    with torch.no_grad():
        for _ in range(30):
            maps = x
            for layer in layers:
                if isinstance(layer, nn.Dropout2d):
                    kept = torch.empty(1, maps.shape[1], 1, 1).bernoulli_(0.8, generator=generator)
                    maps = maps * kept / 0.8
                else:
                    maps = layer(maps)
            answers.append(network.head.logits(maps).softmax(1))
    expected = torch.stack(answers).var(0).mean(1)
    torch.testing.assert_close(on_images("mcd", network).score_images(x), expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("dropout", "shape", "whole"),
    [
        (nn.Dropout(0.25), (4, 5, 6), 1),
        (nn.Dropout(0.25), (4, 2000), 1),
        (nn.Dropout1d(0.25), (4, 500, 3), 3),
        (nn.Dropout2d(0.25), (4, 500, 3, 3), 9),
        (nn.Dropout3d(0.25), (4, 500, 2, 3, 3), 18),
    ],
)
def test_masks_are_shared_by_the_batch_and_keep_the_mean(dropout, shape, whole):
    network = nn.Sequential(dropout, nn.Identity()).eval()
    ones = torch.ones(shape)
    with shared_dropout(network):
        first, second = network(ones), network(ones)
    assert first.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert (first == first[:1]).all() and not torch.equal(first, second)
    if whole > 1:
        assert (first.flatten(2) == first.flatten(2)[:, :, :1]).all() and first.flatten(2).shape[2] == whole
    if first[0].numel() > 1000:
        assert 0.9 < first.mean() < 1.1
    # As it was, and the same masks when entered again.
    assert torch.equal(network(ones), ones) and not any(module.training for module in network.modules())
    with shared_dropout(network):
        assert torch.equal(network(ones), first)
    with shared_dropout(network, seed=1):
        assert not torch.equal(network(ones), first)


def test_what_is_dropped_for_sure_is_gone():
    network = nn.Sequential(nn.Dropout(1.0), nn.Dropout(0.0)).eval()
    with shared_dropout(network):
        assert torch.equal(network(torch.ones(2, 3)), torch.zeros(2, 3))


def gratings(count, seed):
    """Stripes in a direction for each class, at any place."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    angle, phase = labels * torch.pi / 3, 6.28 * torch.rand(count, generator=generator)
    x = torch.linspace(0, 31.4, 32)
    across = angle.cos()[:, None, None] * x + angle.sin()[:, None, None] * x[:, None]
    stripes = torch.sin(across + phase[:, None, None])[:, None]
    return stripes + 0.3 * torch.randn(count, 3, 32, 32, generator=generator), labels


@pytest.fixture(scope="module")
def learnt():
    """A network that tells stripes from each other, with what it says of its training images."""
    torch.manual_seed(0)
    network = create_network("vgg32", "softmax", 3, image_size=32, model_options={"width": 0.125})
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    x, labels = gratings(192, 1)
    for _ in range(30):
        drawn = torch.randperm(192)[:48]
        optimizer.zero_grad()
        network(x[drawn], labels[drawn])[1].backward()
        optimizer.step()
    network.eval().requires_grad_(True)
    with torch.no_grad():
        maps, stages = stage_means(network.backbone, x)
        kept = TrainingOutputs.of(network.head.logits(maps), network.head.pooled(maps), labels, stages)
    return network, kept


@pytest.mark.parametrize("name", [name for name in ON_IMAGES if name not in ("mcd", "rankfeat")])
def test_images_of_another_kind_score_higher(name, learnt):
    network, kept = learnt
    detector = ready_detector(name, network, PREPROCESS, lambda: kept)
    x, labels = gratings(60, 2)
    known, unknown = detector.score_images(x), detector.score_images(images(60, seed=3))
    with torch.no_grad():
        correct = network(x)[1].argmax(1) == labels
    assert open_set_metrics(known, correct, unknown)["auroc"] > 0.8


def transparent(copies, *layers):
    """A network whose map is the image, each channel so many times; logits are five times the mean of the channels."""
    network = create_network("vgg32", "softmax", 3, image_size=32, model_options={"width": 0.125})
    network.backbone = nn.Sequential(nn.Conv2d(3, 3 * copies, 1, bias=False), nn.AvgPool2d(8), *layers)
    network.head.head = nn.Linear(3 * copies, 3)
    with torch.no_grad():
        network.backbone[0].weight.copy_(torch.eye(3).repeat(copies, 1)[:, :, None, None])
        network.head.head.weight.copy_(5 / copies * torch.eye(3).repeat(1, copies))
        network.head.head.bias.zero_()
    return network.eval()


def test_mcd_scores_higher_what_dropout_decides():
    detector = ready_detector("mcd", transparent(8, nn.Dropout2d(0.2)), PREPROCESS, None)
    sure = torch.zeros(6, 3, 32, 32)
    sure[torch.arange(6), torch.arange(6) % 3] = torch.linspace(2, 4, 6)[:, None, None]
    unsure = torch.linspace(1, 4, 6)[:, None, None, None].expand(6, 3, 32, 32)
    assert detector.score_images(unsure).min() > 10 * detector.score_images(sure).max()


def test_rankfeat_scores_higher_what_is_one_thing_alone():
    """Whose map is gone with its first singular value."""
    network = transparent(1)
    detector = ready_detector("rankfeat", network, PREPROCESS, None)
    one = torch.zeros(6, 3, 32, 32)
    one[:, 0, :16] = torch.linspace(3, 5, 6)[:, None, None]
    two = one.clone()
    two[:, 1, 16:] = 2
    assert detector.score_images(one).min() > detector.score_images(two).max()
    assert MaxLogit()(network(one)[1].detach()).max() < -7  # All of them strong answers otherwise.


def test_what_images_need_is_said(network):
    for name in ON_IMAGES:
        assert DETECTORS[name]().needs_images
        with pytest.raises(ValueError, match=f"{name}: attach it to a network first"):
            DETECTORS[name]().score_images(images())
        with pytest.raises(ValueError, match=f"{name} looks at images; call score_images"):
            DETECTORS[name]()(torch.rand(2, 3), torch.rand(2, 8))
    for name in ("mahalanobis_odin", "multi_mahalanobis"):
        unfitted = ready_detector(name, network, PREPROCESS, None)
        with pytest.raises(ValueError, match=f"{name}: fit it on training images first"):
            unfitted.score_images(images())
    with pytest.raises(ValueError, match="mahalanobis_odin: no training image of class number 2"):
        ready_detector("mahalanobis_odin", network, PREPROCESS, None).fit(
            torch.rand(4, 3), torch.rand(4, 16), torch.tensor([0, 0, 1, 1])
        )


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


@pytest.mark.parametrize(
    ("name", "images", "cautious"),
    [
        ("mahalanobis", 18, True),  # 3 classes and 8 features: at least 2 * 8 + 3.
        ("mahalanobis", 19, False),
        ("rmd", 18, True),
        ("gmm", 18, True),
        ("vim", 10, True),  # At least 8 + 3.
        ("vim", 11, False),
        ("knn", 6, False),
        ("kl_matching", 6, False),
    ],
)
def test_too_few_images_for_the_statistics_are_said(name, images, cautious):
    features = torch.randn(images, 8, generator=torch.Generator().manual_seed(0))
    head = torch.nn.Linear(8, 3).requires_grad_(False)
    options = {"weight": head.weight, "bias": head.bias} if name == "vim" else {}
    detector = DETECTORS[name](**options)
    assert detector.caution == ""
    detector.fit(head(features), features, torch.arange(images) % 3)
    assert bool(detector.caution) is cautious
    if cautious:
        assert detector.caution.startswith(f"{name}: {images} training images for 8 features: too few for ")
        assert detector.caution.endswith("or more; take shrunk_mahalanobis")
    assert detector(head(features), features).isfinite().all()


def test_large_numbers_in_a_caution_can_be_read():
    said = WRAPPED["mahalanobis"].caution("mahalanobis", 2180, 20, 1280)
    assert "2,180 training images for 1,280 features" in said and "takes 2,580 or more" in said
    assert WRAPPED["mahalanobis"].caution("mahalanobis", 2580, 20, 1280) == ""


def test_cautions_by_name():
    ready = {"a": Detector(), "b": Detector()}
    ready["b"].caution = "b: too few"

    def make(name):
        if name == "c":
            raise ValueError("not here")
        return ready[name]

    assert cautions([METHOD, "a", "b", "c"], make) == {"b": "b: too few"}
