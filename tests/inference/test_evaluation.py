"""What a network says of images, and the figures made of it."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from backmix import metrics
from backmix.classifier import OpenSetClassifier
from backmix.data.folder import FolderSource
from backmix.data.images import ImageError
from backmix.data.preprocess import Preprocess
from backmix.detectors import METHOD, MSP, OURS, Detector, MaxLogit
from backmix.detectors.stages import stage_means
from backmix.errors import DataError
from backmix.inference.evaluation import (
    Outputs,
    collect,
    figures,
    most_at_a_time,
    own_answers,
    run_network,
    unknown_scores,
)
from backmix.methods import Response
from backmix.methods.network import create_network
from backmix.threshold.conformal import ConformalThreshold

PREPROCESS = Preprocess(32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = create_network("compact-s", "softmax", 3, image_size=32, model_options={"width": 0.25})
    with torch.no_grad():  # Running statistics that are not the identity, so that evaluation mode matters.
        network(torch.randn(16, 3, 32, 32))
    return network


def pixels(count, seed=0):
    return torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


class Memory:
    """Images in memory; some cannot be read."""

    classes = ("a", "b", "c", "d")

    def __init__(self, count, broken=()):
        self.pixels, self.broken = pixels(count), broken
        self.labels = torch.arange(count) % 4

    def __len__(self):
        return len(self.pixels)

    def read(self, i):
        if i in self.broken:
            raise ImageError(self.name(i), "broken on purpose")
        return Image.fromarray(self.pixels[i].permute(1, 2, 0).contiguous().numpy())

    def read_mask(self, i):
        return None

    def name(self, i):
        return f"image {i}"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_run_network_is_the_network_in_evaluation_mode(network, precision):
    images = pixels(10)
    network.train()
    answers = run_network(network, PREPROCESS, images, precision=precision, batch_size=4)
    response = answers.response
    assert not network.training and answers.image_scores == answers.left_out == {} and answers.stages == []
    logits, features = response.logits, response.features
    assert torch.equal(response.score, -logits.amax(1))
    with torch.no_grad():
        maps, expected = network(PREPROCESS.normalise(images))
    tolerance = 1e-5 if precision == "fp32" else 0.05
    assert logits.dtype == features.dtype == torch.float32
    assert (logits - expected).abs().max() < tolerance and (features - maps.mean((2, 3))).abs().max() < tolerance


def test_the_head_runs_in_float32_so_that_scores_do_not_tie(network):
    response = run_network(network, PREPROCESS, pixels(64), precision="bf16").response
    assert not torch.equal(response.logits, response.logits.bfloat16().float())
    assert len(response.score.unique()) == 64


class Brightness(Detector):
    """Looks at images."""

    needs_images = True

    def score_images(self, images):
        assert images.dtype == torch.float32 and images.shape[1:] == (3, 32, 32)
        return images.mean((1, 2, 3))


def test_a_method_that_answers_images_in_its_own_way_is_asked(network, monkeypatch):
    """Here one that looks at the mirrored image too."""

    def respond(backbone, images):
        maps = [backbone(images), backbone(images.flip(3))]
        assert all(m.dtype == torch.float32 for m in maps)
        logits = [network.head.logits(m) for m in maps]
        return Response(logits[0] + logits[1], maps[0].amax((2, 3)), (logits[0] - logits[1]).abs().sum(1))

    plain = run_network(network, PREPROCESS, pixels(6)).response
    mirrored = run_network(network, PREPROCESS, pixels(6).flip(3)).response
    monkeypatch.setattr(network.head, "respond", respond)
    response = run_network(network, PREPROCESS, pixels(6), batch_size=4).response
    assert torch.allclose(response.logits, plain.logits + mirrored.logits, atol=1e-2)
    assert torch.allclose(response.score, (plain.logits - mirrored.logits).abs().sum(1), atol=1e-2)
    assert (response.features >= plain.features - 1e-2).all()


def test_detectors_that_look_at_images_are_shown_them(network):
    images = pixels(10)
    more = run_network(network, PREPROCESS, images, batch_size=4, detectors={"light": Brightness()}).image_scores
    expected = PREPROCESS.normalise(images).mean((1, 2, 3))
    assert list(more) == ["light"] and torch.allclose(more["light"], expected)
    source = Memory(12, broken=(5,))
    outputs = collect(network, PREPROCESS, source, source.labels, batch_size=1, detectors={"light": Brightness()})
    expected = PREPROCESS.normalise(source.pixels).mean((1, 2, 3))[outputs.positions]
    assert torch.allclose(outputs.image_scores["light"], expected) and len(expected) == 11


class FailsLater(Detector):
    """Scores one batch and fails on the next."""

    needs_images = True

    def __init__(self):
        self.calls = 0

    def score_images(self, images):
        self.calls += 1
        if self.calls == 2:
            raise ValueError("later: out of\nmemory")
        return images.mean((1, 2, 3))


@pytest.mark.parametrize("batch_size", [1, 4])  # The second batch is in the same part, or in another.
def test_a_detector_that_fails_on_the_second_batch_is_left_out_or_an_error(network, batch_size):
    source = Memory(20 if batch_size == 4 else 6)
    detectors = {"later": FailsLater(), "light": Brightness()}
    how = {"batch_size": batch_size, "detectors": detectors}
    outputs = collect(network, PREPROCESS, source, source.labels, optional=["later"], **how)
    assert outputs.left_out == {"later": "later: out of memory"} and detectors["later"].calls == 2
    assert list(outputs.image_scores) == ["light"] and len(outputs.image_scores["light"]) == len(outputs.logits)
    detectors["later"].calls = 0
    with pytest.raises(ValueError, match="later: out of"):
        collect(network, PREPROCESS, source, source.labels, optional=["light"], **how)


def means_of(network, images):
    with torch.no_grad():
        return stage_means(network.backbone, PREPROCESS.normalise(images))[1]


def respond_to_the_mirrored(network):
    def respond(backbone, images):
        maps = backbone(images.flip(3))
        return Response(network.head.logits(maps), maps.mean((2, 3)), maps.mean((1, 2, 3)))

    return respond


@pytest.mark.parametrize("plain", [True, False])
def test_means_of_the_maps_inside_are_those_of_the_images_as_they_are(network, monkeypatch, plain):
    """Also where the method asks for other versions alone."""
    source = Memory(12, broken=(5,))
    good = [i for i in range(12) if i != 5]
    if not plain:
        monkeypatch.setattr(network.head, "respond", respond_to_the_mirrored(network))
    passes = []
    handle = network.backbone.register_forward_hook(lambda *_: passes.append(1))
    outputs = collect(network, PREPROCESS, source, source.labels, batch_size=2, precision="fp32", stages=True)
    handle.remove()
    assert len(passes) == (6 if plain else 12)  # Batches of two: four in 8 images, two in the 3 that are left.
    expected = means_of(network, source.pixels[good])
    assert len(outputs.stages) == len(expected) == 2
    for found, own in zip(outputs.stages, expected):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, own, rtol=1e-4, atol=1e-5)


def test_collect_reads_all_in_parts_and_lists_what_it_cannot(network):
    source = Memory(30, broken=(0, 3, 17, 29))
    labels = torch.where(source.labels < 3, source.labels, -1)
    told = []
    outputs = collect(
        network, PREPROCESS, source, labels, batch_size=2, precision="fp32", on_images=told.append, workers=2
    )
    good = [i for i in range(30) if i not in source.broken]
    assert outputs.positions.tolist() == good and torch.equal(outputs.labels, labels[good])
    assert outputs.skipped == [(f"image {i}", "broken on purpose") for i in source.broken]
    assert told == [8, 16, 24, 30]
    whole = run_network(network, PREPROCESS, source.pixels[good], precision="fp32").response
    for ours, theirs in zip(vars(outputs.response).values(), vars(whole).values()):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_collect_takes_the_positions_asked_for(network):
    source = Memory(12, broken=(5,))
    outputs = collect(network, PREPROCESS, source, source.labels, positions=[7, 5, 2])
    assert outputs.positions.tolist() == [7, 2] and outputs.labels.tolist() == [3, 2]


def test_a_part_without_a_readable_image_is_passed_over(network):
    source = Memory(12, broken=range(8))
    outputs = collect(network, PREPROCESS, source, source.labels, batch_size=1)
    assert outputs.positions.tolist() == [8, 9, 10, 11] and len(outputs.skipped) == 8


def test_nothing_readable_at_all(network):
    source = Memory(3, broken=range(3))
    with pytest.raises(DataError, match="no image could be read; 3 were tried. The first: image 0: broken on purpose"):
        collect(network, PREPROCESS, source, source.labels)
    with pytest.raises(DataError, match="no image could be read; 0 were tried"):
        collect(network, PREPROCESS, source, source.labels, positions=[])


def test_scores_are_those_of_the_method_of_the_detector_or_of_the_images():
    response = Response(torch.randn(5, 3), torch.randn(5, 8), torch.randn(5))
    light = torch.randn(5)
    detectors = {"light": Brightness(), "msp": MSP(), METHOD: None}
    scores, left_out = unknown_scores(response, {"light": light}, detectors)
    assert list(scores) == ["light", "msp", METHOD] and left_out == {}
    assert scores["light"] is light and scores[METHOD] is response.score
    assert torch.equal(scores["msp"], MSP()(response.logits))


def test_a_detector_without_scores_is_an_error_or_left_out():
    class Broken(Detector):
        def __call__(self, logits, features):
            raise ValueError("broken: on\npurpose")

    response = Response(torch.randn(5, 3), torch.randn(5, 8), torch.tensor([0.0, 1.0, math.nan, math.nan, 1.0]))
    detectors = {METHOD: None, "broken": Broken(), "msp": MSP()}
    scores, left_out = unknown_scores(response, {}, detectors, optional=[METHOD, "broken"])
    assert list(scores) == ["msp"]
    assert left_out["broken"] == "broken: on purpose" and "method: 2 of 5 unknown scores are NaN" in left_out[METHOD]
    with pytest.raises(ValueError, match="method: 2 of 5 unknown scores are NaN"):
        unknown_scores(response, {}, detectors)
    with pytest.raises(ValueError, match="broken: on"):
        unknown_scores(response, {}, {"broken": Broken()}, optional=[METHOD])


def outputs_of(known=40, unknown=20, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(known) % classes, -torch.ones(unknown, dtype=torch.int64)])
    logits = torch.randn(len(labels), classes, generator=generator)
    logits[torch.arange(known), labels[:known]] += 1.5
    order = torch.randperm(len(labels), generator=generator)
    logits = logits[order]
    return Outputs(logits, torch.randn(len(labels), 4), -logits.amax(1), labels[order], order, [("x", "broken")])


def test_figures_against_their_definitions():
    outputs = outputs_of()
    calibration = torch.randn(60, generator=torch.Generator().manual_seed(1)) - 1
    threshold = ConformalThreshold.fit(calibration, accept=0.9)
    by_name = {"max_logit": MaxLogit()(outputs.logits), "msp": MSP()(outputs.logits)}
    result = figures(outputs, by_name, {"max_logit": threshold.accept(by_name["max_logit"])})
    assert result["images"] == {"known": 40, "unknown": 20, "unreadable": 1}
    scores = (-outputs.logits.max(1).values).tolist()
    labels, answers = outputs.labels.tolist(), outputs.logits.argmax(1).tolist()
    inside = [i for i, label in enumerate(labels) if label >= 0]
    outside = [i for i, label in enumerate(labels) if label < 0]
    right = {i for i in inside if answers[i] == labels[i]}
    assert result["accuracy"] == pytest.approx(len(right) / 40)
    entry = result["detectors"]["max_logit"]
    pairs = [(scores[i] < scores[j]) for i in inside for j in outside]
    assert entry["auroc"] == pytest.approx(sum(pairs) / 800)
    assert entry["oscr"] == pytest.approx(sum(scores[i] < scores[j] for i in right for j in outside) / 800)
    accepted = {i for i in range(60) if scores[i] - threshold.tolerance <= threshold.threshold}
    assert entry["accepted_known"] == pytest.approx(len(accepted & {*inside}) / 40)
    assert entry["rejected_unknown"] == pytest.approx(len({*outside} - accepted) / 20)
    assert entry["accuracy_with_rejection"] == pytest.approx(len(right & accepted) / 40)
    final = torch.tensor([answers[i] if i in accepted else -1 for i in range(60)])
    assert entry["macro_f1"] == pytest.approx(metrics.macro_f1(final, outputs.labels))
    # Without a threshold there is nothing to say about rejection.
    assert "macro_f1" not in result["detectors"]["msp"] and result["detectors"]["msp"]["fpr95"] is not None
    assert {"auroc", "oscr", "fpr95", "aupr_in", "aupr_out", "detection_accuracy"} <= entry.keys()


class Rule(Detector):
    """Has a rule of its own: large features are unknown."""

    def __call__(self, logits, features):
        return features.amax(1)

    def decide(self, logits, features):
        return torch.where(features.amax(1) > 1, -1, logits.argmax(1))


def test_the_rule_of_a_detector_itself_is_judged_over_k_plus_one_classes():
    outputs = outputs_of()
    detectors = {METHOD: None, "msp": MSP(), "rule": Rule()}
    own = own_answers(outputs.response, detectors)
    assert list(own) == ["rule"]
    result = figures(outputs, {"msp": MSP()(outputs.logits), "rule": outputs.features.amax(1)}, None, own)
    assert "own_rule_accuracy" not in result["detectors"]["msp"]
    answers = [
        -1 if max(f) > 1 else max(range(3), key=z.__getitem__)
        for z, f in zip(outputs.logits.tolist(), outputs.features.tolist())
    ]
    labels, f1 = outputs.labels.tolist(), []
    for k in (-1, 0, 1, 2):
        hits = sum(a == k == b for a, b in zip(answers, labels))
        f1.append(2 * hits / (answers.count(k) + labels.count(k)))
    entry = result["detectors"]["rule"]
    assert entry["own_rule_accuracy"] == pytest.approx(sum(a == b for a, b in zip(answers, labels)) / 60)
    assert entry["own_rule_macro_f1"] == pytest.approx(sum(f1) / 4)
    # Without a threshold nothing is said of one.
    assert "macro_f1" not in entry


@pytest.mark.parametrize(("known", "unknown"), [(10, 0), (0, 10)])
def test_figures_that_need_both_kinds_are_null_with_one(known, unknown):
    threshold = ConformalThreshold.fit(torch.linspace(-2, 0, 50))
    outputs = outputs_of(known, unknown)
    result = figures(outputs, {"msp": MSP()(outputs.logits)}, {"msp": threshold.accept(MSP()(outputs.logits))})
    entry = result["detectors"]["msp"]
    assert all(entry[name] is None for name in ("auroc", "oscr", "fpr95", "aupr_in", "aupr_out", "detection_accuracy"))
    assert (result["accuracy"] is None) == (entry["accepted_known"] is None) == (known == 0)
    assert (entry["rejected_unknown"] is None) == (unknown == 0)
    assert isinstance(entry["macro_f1"], float)


def test_scores_that_are_no_numbers_are_refused():
    outputs = outputs_of()
    outputs.logits[3, 0] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        figures(outputs, {"msp": MSP()(outputs.logits)})


def test_evaluation_of_a_folder_with_classes_the_run_does_not_know(trained, pictures):
    classifier = OpenSetClassifier.load(trained)
    result = classifier.evaluate(FolderSource(pictures / "test"))
    assert result["images"] == {"known": 18, "unknown": 6, "unreadable": 0} and result["unreadable"] == []
    assert result["accuracy"] == 1.0
    assert list(result["detectors"]) == [METHOD, *OURS] and result["left_out"] == {}
    for entry in result["detectors"].values():
        assert all(0 <= entry[name] <= 1 for name in entry)
        assert entry["auroc"] > 0.5
    assert [name for name, entry in result["detectors"].items() if "own_rule_accuracy" in entry] == ["openmax"]
    entry = result["detectors"]["openmax"]
    source = FolderSource(pictures / "test")
    outputs = classifier._collect(source, classifier.labels_for(source), None, 1)
    answers = classifier.ready_detector("openmax").probabilities(outputs.logits).argmax(1) - 1
    assert entry["own_rule_accuracy"] == pytest.approx((answers == outputs.labels).double().mean().item())
    assert entry["own_rule_macro_f1"] == pytest.approx(metrics.macro_f1(answers, outputs.labels))


@pytest.fixture
def failing(monkeypatch):
    """An image detector among the others, made ready, that fails while it scores."""
    from backmix import detectors

    monkeypatch.setitem(detectors.DETECTORS, "later", FailsLater)
    # Two batches of the test images.
    monkeypatch.setattr("backmix.inference.scorer.collect", lambda *a, **k: collect(*a, **k, batch_size=16))


def test_all_detectors_without_one_that_fails_while_scoring(trained, pictures, failing):
    classifier = OpenSetClassifier.load(trained)
    source = FolderSource(pictures / "test")
    result = classifier.evaluate(source, detectors=["all"])
    assert result["left_out"]["later"] == "later: out of memory" and "later" not in result["detectors"]
    assert {METHOD, *OURS} <= set(result["detectors"])
    for names in (["later"], ["msp", "later"], ["all", "later"]):
        with pytest.raises(ValueError, match="later: out of"):
            OpenSetClassifier.load(trained).evaluate(source, detectors=names)


def test_names_are_checked_before_anything_is_run(trained, pictures, monkeypatch):
    monkeypatch.setattr("backmix.inference.scorer.collect", lambda *_, **__: pytest.fail("ran the network"))
    for names in (["all", "bogus"], ["bogus", "all"], ["msp", "bogus"]):
        with pytest.raises(ValueError, match="no detector 'bogus'; there are method, msp"):
            OpenSetClassifier.load(trained).evaluate(FolderSource(pictures / "test"), detectors=names)


def test_a_processor_gets_fewer_images_at_a_time_than_asked(network):
    sizes = [most_at_a_time(size) for size in (8, 32, 96, 224, 384, 2000)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 64 and sizes[-1] == 8
    seen = []
    hook = network.backbone.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    run_network(network, PREPROCESS, pixels(150), batch_size=100)
    run_network(network, PREPROCESS, pixels(7), batch_size=4)
    hook.remove()
    assert seen == [64, 64, 22, 4, 3]


def test_the_order_and_number_of_images_at_a_time_do_not_matter(network):
    images = pixels(9)
    one = run_network(network, PREPROCESS, images, precision="fp32", batch_size=1).response.logits
    nine = run_network(network, PREPROCESS, images.flip(0), precision="fp32", batch_size=9).response.logits.flip(0)
    assert np.allclose(one, nine, atol=1e-5)
