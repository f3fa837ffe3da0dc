"""The open-set classifier: what it answers, how it calibrates, what it refuses."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.classifier import OpenSetClassifier
from backmix.data.folder import FolderSource
from backmix.data.source import Subset
from backmix.detectors import METHOD, OURS, WRAPPED
from backmix.detectors.training_outputs import TrainingOutputs
from backmix.errors import DataError
from backmix.methods import METHODS, Softmax
from backmix.prediction.answer import UNKNOWN, Prediction


@pytest.fixture(scope="module")
def classifier(trained):
    return OpenSetClassifier.load(trained)


@pytest.fixture(scope="module")
def colours(pictures):
    return FolderSource(pictures / "test")


def test_known_images_get_their_class_and_most_are_accepted(classifier, colours):
    paths = [colours.path(i) for i in range(len(colours))]
    answers = classifier.predict(paths)
    assert [answer.path for answer in answers] == [str(path) for path in paths]
    for i, answer in enumerate(answers):
        name = colours.classes[colours.labels[i]]
        assert answer.error is None and 0 < answer.p_value <= 1
        assert len(answer.top) == 3 and sum(p for _, p in answer.top) == pytest.approx(1, abs=1e-5)
        assert [p for _, p in answer.top] == sorted((p for _, p in answer.top), reverse=True)
        if name != "grey":
            assert answer.top[0][0] == name and answer.label in (name, UNKNOWN)
    known = [a for i, a in enumerate(answers) if colours.classes[colours.labels[i]] != "grey"]
    assert sum(answer.label != UNKNOWN for answer in known) >= 14


def test_an_image_is_unknown_when_its_score_is_above_the_threshold(classifier, colours):
    answers = classifier.predict([colours.path(i) for i in range(len(colours))])
    threshold = classifier.thresholds[classifier.detector]
    for answer in answers:
        score = answer.unknown_score - threshold.tolerance
        assert (answer.label == UNKNOWN) == (score > threshold.threshold)
        assert answer.p_value == pytest.approx(
            (1 + int((threshold.scores >= score).sum())) / (len(threshold.scores) + 1)
        )


def test_paths_pictures_and_tensors_give_one_answer(classifier, colours):
    paths = [colours.path(i) for i in range(6)]
    pictures = [colours.read(i) for i in range(6)]
    tensor = torch.stack([classifier.preprocess.decode(picture) for picture in pictures])
    by_path, by_text = classifier.predict(paths), classifier.predict(map(str, paths))
    by_picture, by_tensor = classifier.predict(pictures), classifier.predict(tensor)
    assert by_path == by_text
    assert [answer.path for answer in by_picture] == [answer.path for answer in by_tensor] == list("012345")
    for answers in (by_picture, by_tensor):
        for a, b in zip(by_path, answers, strict=True):
            assert (a.label, a.unknown_score, a.top) == (b.label, b.unknown_score, b.top)


def test_answers_do_not_depend_on_the_batch(trained, colours):
    classifier = OpenSetClassifier.load(trained)
    classifier.precision = "fp32"
    paths = [colours.path(i) for i in range(len(colours))]
    for a, b in zip(classifier.predict(paths, batch_size=5), classifier.predict(paths), strict=True):
        assert a.label == b.label and a.unknown_score == pytest.approx(b.unknown_score, abs=1e-4)


def test_no_image_no_answer(classifier):
    assert classifier.predict([]) == []
    assert classifier.predict(torch.zeros(0, 3, 32, 32, dtype=torch.uint8)) == []


@pytest.mark.parametrize("top", [1, 2, 9])
def test_as_many_classes_as_asked_for_are_told(classifier, top):
    (answer,) = classifier.predict([Image.new("RGB", (32, 32))], top=top)
    assert len(answer.top) == min(top, 3)


def test_unreadable_images_keep_their_place(classifier, colours, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    good = colours.path(0)
    answers = classifier.predict(
        [tmp_path / "text.png", good, tmp_path / "missing.png", tmp_path, good, tmp_path / "empty.jpg"], batch_size=1
    )
    assert [answer.error is None for answer in answers] == [False, True, False, False, True, False]
    assert answers[0] == Prediction(str(tmp_path / "text.png"), error=answers[0].error)
    assert "not an image" in answers[0].error and "no such file" in answers[2].error
    assert "folder" in answers[3].error and "empty" in answers[5].error
    assert answers[1] == answers[4]


def encoded(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    stream.seek(0)
    return stream


def odd_pictures():
    random = np.random.default_rng(0)
    rgb = Image.fromarray(random.integers(0, 256, (40, 56, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = rgb.convert("RGBA")
    alpha.putalpha(Image.fromarray(random.integers(0, 256, (40, 56), dtype=np.uint8)))
    return {
        "rotated": encoded(rgb, "JPEG", exif=exif),
        "alpha": encoded(alpha, "PNG"),
        "palette": encoded(rgb.quantize(16), "PNG"),
        "cmyk": encoded(rgb.convert("CMYK"), "JPEG"),
        "16 bit": encoded(Image.fromarray(random.integers(0, 65536, (40, 56), dtype=np.uint16)), "PNG"),
        "animated": encoded(rgb, "GIF", save_all=True, append_images=[rgb.rotate(180)]),
    }


@pytest.mark.parametrize("kind", odd_pictures())
def test_a_picture_already_open_is_taken_as_from_its_file(classifier, tmp_path, kind):
    stream = odd_pictures()[kind]
    (tmp_path / "file").write_bytes(stream.getvalue())
    from_path, from_picture = classifier.predict([tmp_path / "file"]) + classifier.predict([Image.open(stream)])
    assert from_path.error is None
    assert (from_path.label, from_path.unknown_score, from_path.top) == (
        from_picture.label,
        from_picture.unknown_score,
        from_picture.top,
    )


def test_a_picture_that_turns_out_broken_is_reported_in_its_place(classifier, colours):
    whole = encoded(colours.read(0).resize((200, 200)), "JPEG").getvalue()
    answers = classifier.predict([Image.open(io.BytesIO(whole[: len(whole) // 2])), colours.read(0)])
    assert "broken or cut off" in answers[0].error and answers[1].error is None


def test_a_single_path_is_not_taken_for_a_list_of_letters(classifier, colours):
    for single in (str(colours.path(0)), colours.path(0), colours.read(0)):
        with pytest.raises(TypeError, match="put this one into a list"):
            classifier.predict(single)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 32, 32),
        torch.zeros(2, 3, 16, 32, dtype=torch.uint8),
        torch.zeros(3, 32, 32, dtype=torch.uint8),
        torch.zeros(2, 32, 32, 3, dtype=torch.uint8),
    ],
)
def test_tensors_of_another_kind(classifier, images):
    with pytest.raises(ValueError, match=r"images must be \(N, 3, 32, 32\) uint8; got"):
        classifier.predict(images)


def test_labels_go_by_name(colours):
    classifier = OpenSetClassifier(["green", "pink", "red"], model="compact-s")
    labels = classifier.labels_for(colours)
    assert colours.classes == ["blue", "green", "grey", "red"]
    assert labels.tolist() == [-1] * 6 + [0] * 6 + [-1] * 6 + [2] * 6
    subset = Subset(colours, [23, 6])
    assert classifier.labels_for(subset).tolist() == [2, 0]
    subset.labels = torch.tensor([-1, 1])
    assert classifier.labels_for(subset).tolist() == [-1, 0]


def test_calibration_looks_at_known_images_alone(trained, colours):
    classifier = OpenSetClassifier.load(trained)
    outputs = classifier.calibrate(colours, accept=0.8)
    assert len(outputs.labels) == 18 and outputs.labels.min() == 0
    assert classifier.accept == 0.8 and set(classifier.thresholds) == {METHOD, *OURS}
    for threshold in classifier.thresholds.values():
        assert len(threshold.scores) == 18
        # k = ceil(19 * 0.8) = 16 of 18 are accepted.
        assert int(threshold.accept(threshold.scores).sum()) == 16
    known = [i for i in range(len(colours)) if classifier.labels_for(colours)[i] >= 0]
    assert classifier.calibrate(colours, positions=known[:5]).positions.tolist() == known[:5]


def test_calibration_without_known_images(trained, colours):
    classifier = OpenSetClassifier.load(trained)
    grey = Subset(colours, (classifier.labels_for(colours) < 0).nonzero().flatten())
    kept = classifier.thresholds
    with pytest.raises(DataError, match="no image of a known class to calibrate on; known: .*red.*; found: .*grey"):
        classifier.calibrate(grey)
    assert classifier.thresholds is kept
    with pytest.raises(ValueError, match=r"accept is a share .*; got 1\.0"):
        classifier.calibrate(colours, accept=1.0)


def test_without_calibration_nothing_is_unknown_and_there_is_no_p_value():
    classifier = OpenSetClassifier(["a", "b"], model="compact-s")
    (answer,) = classifier.predict([Image.new("RGB", (32, 32))])
    assert answer.label in ("a", "b") and answer.p_value is None and isinstance(answer.unknown_score, float)


def test_initial_weights_follow_from_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two, three = (OpenSetClassifier(["a", "b"], model="compact-s", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    weights = [torch.cat([p.flatten() for p in c.network.parameters()]) for c in (one, two, three)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "at least two known classes; got none"),
        (["a"], "at least two known classes; got a"),
        (["a", "b", "a"], "twice: a"),
        (["a", "unknown"], 'cannot be called "unknown"'),
    ],
)
def test_classes_that_make_no_classifier(classes, message):
    with pytest.raises(DataError, match=message):
        OpenSetClassifier(classes, model="compact-s")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": "mps"}, "no detector 'mps'; there are method, msp, max_logit, energy, openmax"),
        ({"detector": "all"}, "no detector 'all'"),
        ({"method": "aprl"}, "no method 'aprl'; there are softmax"),
        ({"model": "no-such-net"}, "no-such-net"),
        ({"accept": 0.0}, "accept is a share"),
        ({"accept": 1.0}, "accept is a share"),
        ({"accept": 95.0}, "accept is a share"),
        ({"precision": "fp16"}, "auto, bf16, fp32; got 'fp16'"),
        ({"image_size": 4}, "image_size"),
        ({"image_size": -32}, "image_size"),
        ({"pretrained": True}, "no published weights"),
    ],
)
def test_options_that_do_not_exist(options, message):
    with pytest.raises(ValueError, match=message):
        OpenSetClassifier(["a", "b"], **{"model": "compact-s", **options})


def test_normalisation_is_as_given_and_comes_back_from_the_folder(tmp_path):
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    plain = OpenSetClassifier(["a", "b"], model="compact-s")
    assert plain.preprocess.mean == (0.5, 0.5, 0.5) and plain.preprocess.std == (0.25, 0.25, 0.25)
    given = OpenSetClassifier(["a", "b"], model="compact-s", mean=mean, std=std)
    assert (given.preprocess.mean, given.preprocess.std) == (mean, std)
    given.save(tmp_path)
    assert OpenSetClassifier.load(tmp_path).preprocess == given.preprocess
    own = OpenSetClassifier(["a", "b"], model="resnet10t", image_size=64, mean=mean, std=std)
    assert own.preprocess.mean == mean
    with pytest.raises(ValueError, match="mean and std belong together; got mean=None and std="):
        OpenSetClassifier(["a", "b"], std=std)


def test_to_returns_itself():
    classifier = OpenSetClassifier(["a", "b"], model="compact-s")
    assert classifier.to("cpu") is classifier


class Bare(Softmax):
    """A method without `head`, as those by distances are, and with a score of its own."""

    name = "bare"

    def __init__(self, num_features, num_classes):
        super().__init__(num_features, num_classes)
        self.inner = self.head
        del self.head

    def logits(self, features):
        return self.inner(features.mean((2, 3)))

    def unknown_score(self, features):
        return features.float().mean((1, 2, 3))


@pytest.fixture
def bare(monkeypatch):
    monkeypatch.setitem(METHODS, "bare", Bare)


def test_the_detector_that_decides_follows_from_the_method(bare):
    assert OpenSetClassifier(["a", "b"], model="compact-s").detector == "max_logit"
    assert OpenSetClassifier(["a", "b"], model="compact-s", method="bare").detector == METHOD
    assert OpenSetClassifier(["a", "b"], model="compact-s", method="bare", detector="msp").detector == "msp"


def test_the_methods_own_score_decides(bare, pictures):
    classifier = OpenSetClassifier(["blue", "green", "red"], model="compact-s", method="bare")
    source = FolderSource(pictures / "train")
    outputs = classifier.calibrate(source, accept=0.5)
    threshold = classifier.thresholds[METHOD]
    assert torch.equal(threshold.scores, outputs.scores.double().sort().values)
    assert set(classifier.thresholds) == {METHOD, "msp", "max_logit", "energy"}  # Nothing to fit openmax on.
    answers = classifier.predict([source.path(int(i)) for i in outputs.positions])
    assert [a.unknown_score for a in answers] == pytest.approx(outputs.scores.tolist(), abs=1e-3)
    assert 0.4 < sum(a.label != UNKNOWN for a in answers) / len(answers) < 0.6
    result = classifier.evaluate(FolderSource(pictures / "test"))
    assert list(result["detectors"]) == [METHOD, "msp", "max_logit", "energy"]
    assert "openmax is fitted on training images, of which nothing was kept" in result["left_out"]["openmax"]
    with pytest.raises(ValueError, match="openmax is fitted on training images.*Train again, or take one of method"):
        classifier.evaluate(FolderSource(pictures / "test"), detectors=["msp", "openmax"])


def test_what_detectors_are_fitted_on_is_a_plain_run_of_known_training_images(classifier, pictures):
    other = OpenSetClassifier(classifier.classes, model="compact-s")
    other.network.load_state_dict(classifier.network.state_dict())
    assert other.training_outputs is None
    source = FolderSource(pictures / "train")
    other.keep_training_outputs(source)
    kept = other.training_outputs
    labels = other.labels_for(source)
    assert torch.equal(kept.labels, labels[labels >= 0]) and kept.features.dtype == torch.float16
    outputs = other._collect(source, labels, (labels >= 0).nonzero()[:, 0].tolist(), 1)
    assert torch.equal(kept.logits, outputs.logits) and torch.equal(kept.features, outputs.features.half())
    other.keep_training_outputs(source, [0, 41, 81, 121])
    assert torch.equal(other.training_outputs.labels, labels[[0, 41, 81, 121]][labels[[0, 41, 81, 121]] >= 0])


def test_detectors_are_fitted_once_and_anew_on_other_images(classifier, pictures):
    first = classifier.ready_detector("openmax")
    assert classifier.ready_detector("openmax") is first
    kept = classifier.training_outputs
    try:
        classifier.training_outputs = TrainingOutputs.of(3 * kept.logits, kept.features, kept.labels)
        second = classifier.ready_detector("openmax")
        assert torch.allclose(second.means, 3 * first.means)
    finally:
        classifier.training_outputs = kept


def test_openmax_decides(trained, colours):
    classifier = OpenSetClassifier.load(trained)
    classifier.detector = "openmax"
    answers = classifier.predict([colours.path(i) for i in range(len(colours))])
    rule = classifier.thresholds["openmax"]
    assert all((a.label == UNKNOWN) == (a.unknown_score - rule.tolerance > rule.threshold) for a in answers)


@pytest.mark.parametrize("name", ["knn", "vim", "odin"])
def test_detectors_of_pytorch_ood_decide_from_calibration_on(trained, colours, pictures, name):
    pytest.importorskip("pytorch_ood")
    classifier = OpenSetClassifier.load(trained)
    classifier.detector = name
    classifier.calibrate(FolderSource(pictures / "train"), accept=0.9)
    assert set(classifier.thresholds) == {METHOD, *OURS, name}
    answers = classifier.predict([colours.path(i) for i in range(len(colours))])
    rule = classifier.thresholds[name]
    assert all((a.label == UNKNOWN) == (a.unknown_score - rule.tolerance > rule.threshold) for a in answers)
    result = classifier.evaluate(colours)
    assert list(result["detectors"]) == [METHOD, *OURS, name]
    assert result["detectors"][name]["accepted_known"] is not None


def test_all_detectors_and_why_some_have_no_figures(trained, colours, bare):
    pytest.importorskip("pytorch_ood")
    result = OpenSetClassifier.load(trained).evaluate(colours, detectors=["all"])
    few = {name for name, spec in WRAPPED.items() if spec.images_per_feature}
    assert {"knn", "odin", "method", "openmax"} <= set(result["detectors"]) and result["cautions"] == {}
    assert set(result["left_out"]) == {"mcd", *few} and "this network has none" in result["left_out"]["mcd"]


def test_statistics_that_these_images_cannot_carry_are_left_out_unless_asked_for(trained, colours):
    pytest.importorskip("pytorch_ood")
    classifier = OpenSetClassifier.load(trained)
    kept = classifier.training_outputs
    few = {name for name, spec in WRAPPED.items() if spec.images_per_feature}
    assert few == {"mahalanobis", "rmd", "gmm", "vim", "mahalanobis_odin", "multi_mahalanobis"}
    result = classifier.evaluate(colours, detectors=["all"])
    said = (
        f"rmd: {len(kept.labels)} training images for {kept.features.shape[1]} features: too few for the inverse of a"
    )
    assert result["left_out"]["rmd"].startswith(said) and result["left_out"]["rmd"].endswith("take shrunk_mahalanobis")
    assert "principal subspace" in result["left_out"]["vim"]
    asked = classifier.evaluate(colours, detectors=["all", "rmd"])
    assert set(asked["cautions"]) == {"rmd"} and asked["detectors"]["rmd"]["auroc"] is not None
    assert asked["cautions"]["rmd"] == result["left_out"]["rmd"]
    # The one that decides always has figures.
    classifier.detector = "mahalanobis"
    classifier.calibrate(colours, accept=0.8)
    for names in (None, ["all"]):
        decides = classifier.evaluate(colours, detectors=names)
        assert "mahalanobis" in decides["detectors"] and set(decides["cautions"]) == {"mahalanobis"}


def test_what_a_method_does_not_allow_is_said_before_training(bare):
    pytest.importorskip("pytorch_ood")
    for name in ("vim", "she", "ash"):
        with pytest.raises(ValueError, match=f"{name} looks at a linear head, and method bare has none"):
            OpenSetClassifier(["a", "b"], model="compact-s", method="bare", detector=name)
    with pytest.raises(ValueError, match="mcd: looks at how dropout changes the answers, and this network has none"):
        OpenSetClassifier(["a", "b"], model="compact-s", detector="mcd")
