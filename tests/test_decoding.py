"""One photograph gives the same pixels in everything that shows it to a network, by the decoding of the run."""

import numpy as np
import pytest
import torch
from exported_files import calibrated, exported
from PIL import Image
from signed_run import sign

from backmix.app.pictures import Upload, look
from backmix.audit.gather import choose_masks, gather
from backmix.audit.models.classifier import ClassifierModel
from backmix.audit.pictures import Pictures
from backmix.benchmark.relabel import Joined, Relabelled
from backmix.classifier import OpenSetClassifier
from backmix.data.folder import FolderSource
from backmix.data.images import open_image, open_photo
from backmix.data.loader import WorkerLoader, decode
from backmix.data.photo import FULL, SCALED
from backmix.data.preprocess import Preprocess
from backmix.data.source import Subset, read_photo
from backmix.errors import RunError
from backmix.foregrounds import FOREGROUND_SOURCES
from backmix.foregrounds.estimated import EstimatedMasks
from backmix.hub.copy import write_shared_copy
from backmix.inference.engine import network_key
from backmix.inference.frozen import FrozenFeatures
from backmix.onnx_model.contract import Description
from backmix.onnx_model.model import OnnxModel
from backmix.predict.paths import Found
from backmix.predict.pipeline import answer_images
from backmix.predict.predictor import RunPredictor
from backmix.runs.folder import CHECKED, TRAINING, read_config

SIZE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of 150 x 100 pixels with grain, some of them on their side: at 16 px, they are decoded at a half."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("class 0", "class 1"):
        (folder / name).mkdir()
        for number in range(4):
            exif = Image.Exif()
            exif[274] = (1, 6, 3, 8)[number]
            pixels = random.integers(0, 256, (101, 151, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg", quality=92, exif=exif)
    return folder


def seen_in(folder, decoding):
    """The pixels of all photographs, (8, 3, 16, 16) uint8, by plain code."""
    paths = sorted(folder.glob("*/*.jpg"))
    photos = [open_photo(path, at_least={FULL: None, SCALED: 2 * SIZE}[decoding]) for path in paths]
    assert {photo.scale for photo in photos} == {1 if decoding == FULL else 2}
    return torch.stack([pixels_of(photo.square(SIZE)) for photo in photos])


def pixels_of(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def classifier_of(decoding):
    return calibrated(decoding=decoding)


class Recorder:
    """A predictor that keeps the images that it is shown."""

    def __init__(self, model):
        self.model, self.images = model, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def answer(self, images, names, *, top):
        self.images.extend(torch.from_numpy(images.copy()))
        return self.model.answer(images, names, top=top)


@pytest.mark.parametrize("decoding", [FULL, SCALED])
def test_sources_of_training_read_as_the_run_does(folder, decoding):
    preprocess, source, due = Preprocess(SIZE, decoding=decoding), FolderSource(folder), seen_in(folder, decoding)
    every = list(range(8))
    wrapped = [
        source,
        Subset(source, every),
        Relabelled(source, every, source.labels, source.classes),
        Joined([Subset(source, every[:3]), Subset(source, every[3:])]),
        EstimatedMasks(source, FOREGROUND_SOURCES["saliency"]()),
    ]
    for each in wrapped:
        assert torch.equal(decode(each, source.labels, preprocess).images, due)
        assert all(read_photo(each, i, preprocess.at_least).size in ((151, 101), (101, 151)) for i in every)
    loader = WorkerLoader(source, source.labels, preprocess, positions=every, batch_size=3, workers=0)
    whole = torch.stack([pixels_of(read_photo(source, i, preprocess.at_least).resized((SIZE, SIZE))) for i in every])
    assert torch.equal(torch.cat([batch.images for batch in loader.whole()]), whole)


@pytest.mark.parametrize("decoding", [FULL, SCALED])
def test_what_answers_reads_as_the_run_does(folder, decoding, monkeypatch):
    classifier, due = classifier_of(decoding), seen_in(folder, decoding)
    paths = sorted(folder.glob("*/*.jpg"))
    expected = [answer.unknown_score for answer in classifier.predict(due)]
    shown = []
    real = OpenSetClassifier._answers

    def answers(self, images, *rest, **options):
        shown.append(images.clone())
        return real(self, images, *rest, **options)

    monkeypatch.setattr(OpenSetClassifier, "_answers", answers)
    for given in (paths, [path.read_bytes() for path in paths]):
        assert [answer.unknown_score for answer in classifier.predict(given)] == expected
        assert torch.equal(shown.pop(), due)
    look(classifier, [Upload(str(path), path.name) for path in paths], max_pixels=10**6)
    assert torch.equal(shown.pop(), due)

    file = exported(decoding=decoding)
    for model in (RunPredictor(classifier), OnnxModel.load(file)):
        recorder = Recorder(model)
        found = [Found(str(path)) for path in paths]
        list(answer_images(found, recorder, workers=2, batch_size=8, top=1))
        assert torch.equal(torch.stack(recorder.images), due)

    outputs = classifier.scores(FolderSource(folder), [classifier.detector])[0]
    assert torch.equal(outputs.logits, classifier.run(due, {}, 8).response.logits)


@pytest.mark.parametrize("decoding", [FULL, SCALED])
@pytest.mark.parametrize("masks", ["centre", "saliency"])
def test_an_audit_sees_what_the_run_sees(folder, decoding, masks, tmp_path):
    model, source = ClassifierModel(classifier_of(decoding), "a"), FolderSource(folder)
    items = gather(source, choose_masks(masks, source), [["class 0"], ["class 1"], ["class 2"]], 3).items
    with Pictures(tmp_path, model.frame, len(items)) as pictures:
        states = pictures.prepare(items, "a", workers=1)
        assert torch.equal(pictures.images(range(8)), seen_in(folder, decoding))
    assert not states.reasons


def test_features_in_the_cache_are_those_of_one_decoding(folder, tmp_path):
    backbone = classifier_of(SCALED).network.backbone
    old, new = (Preprocess(SIZE, decoding=decoding) for decoding in (FULL, SCALED))
    assert network_key(backbone, old) != network_key(backbone, new)
    source = FolderSource(folder)
    first = FrozenFeatures(backbone, old, folder=tmp_path, build=False).of(source)
    second = FrozenFeatures(backbone, new, folder=tmp_path, build=False).of(source)
    again = FrozenFeatures(backbone, old, folder=tmp_path, build=False).of(source)
    assert (first.computed, second.computed, again.computed) == (8, 8, 0)
    assert torch.equal(first.features, again.features) and not torch.equal(first.features, second.features)


def test_a_new_run_says_how_it_decodes_and_a_run_that_does_not_say_it_decodes_in_full(folder, tmp_path):
    classifier = calibrated(model="compact-s")
    classifier.save(tmp_path / "run")
    config = read_config(tmp_path / "run")
    assert config["decoding"] == SCALED == OpenSetClassifier.load(tmp_path / "run").preprocess.decoding
    paths = sorted(folder.glob("*/*.jpg"))
    scaled = OpenSetClassifier.load(tmp_path / "run").predict(paths)

    del config["decoding"]
    sign(tmp_path / "run", config, [*CHECKED, TRAINING])
    resigned = OpenSetClassifier.load(tmp_path / "run")
    assert resigned.preprocess.decoding == FULL
    # What earlier versions did, in so many words.
    pictures = [open_image(path) for path in paths]
    before = resigned.predict(torch.stack([resigned.preprocess.decode(picture) for picture in pictures]))
    now = resigned.predict(paths)
    assert [answer.unknown_score for answer in now] == [answer.unknown_score for answer in before]
    assert [answer.unknown_score for answer in now] != [answer.unknown_score for answer in scaled]
    resigned.save(tmp_path / "again")
    assert read_config(tmp_path / "again")["decoding"] == FULL

    config["decoding"] = 3
    sign(tmp_path / "run", config, [*CHECKED, TRAINING])
    with pytest.raises(RunError, match="decoding"):
        OpenSetClassifier.load(tmp_path / "run")


@pytest.mark.parametrize("decoding", [FULL, SCALED])
def test_a_shared_copy_decodes_as_its_run_does(decoding, tmp_path):
    calibrated(model="compact-s", decoding=decoding).save(tmp_path / "run")
    write_shared_copy(tmp_path / "run", tmp_path / "shared", name="somebody/something")
    assert OpenSetClassifier.load(tmp_path / "shared").preprocess.decoding == decoding
    assert f"| version of decoding | {decoding} |" in (tmp_path / "shared" / "README.md").read_text()


def test_an_exported_file_that_does_not_say_it_decodes_in_full():
    description = Description(["a", "b"], 16, "energy", 0.9, 1.0, 5, None, "compact", "softmax", "1.0", decoding=SCALED)
    text = description.to_json()
    assert Description.from_json(text) == description
    assert Description.from_json(text.replace('"decoding"', '"something else"')).decoding == FULL
    for wrong in ("3", "0", '"2"', "true", "null"):
        with pytest.raises(ValueError, match="decoding in its description must be 1"):
            Description.from_json(text.replace('"decoding": 2', f'"decoding": {wrong}'))


def test_a_crop_of_training_shows_the_same_part_as_before_and_is_never_enlarged(tmp_path):
    smooth = np.random.default_rng(1).integers(0, 256, (10, 15, 3), dtype=np.uint8)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(smooth).resize((600, 400), Image.Resampling.BICUBIC).save(tmp_path / name / "x.jpg", quality=95)
    source, batches = FolderSource(tmp_path), {}
    for decoding in (FULL, SCALED):
        preprocess = Preprocess(32, decoding=decoding)
        loader = WorkerLoader(source, source.labels, preprocess, positions=[0, 1], batch_size=2, workers=0)
        batches[decoding] = [batch for number in range(4) for batch in loader.epoch(number)]
    for old, new in zip(batches[FULL], batches[SCALED], strict=True):
        assert torch.equal(old.index, new.index) and torch.equal(old.view.boxes, new.view.boxes)
        difference = (old.images.float() - new.images.float()).abs()
        assert 0 < difference.mean() < 1
    asked = []

    class Spy(FolderSource):
        def read_photo(self, i, at_least):
            asked.append(at_least)
            return super().read_photo(i, at_least)

    for scale, least in ((0.35, 64), (0.01, 370)):
        loader = WorkerLoader(
            Spy(tmp_path), source.labels, Preprocess(32), positions=[0], batch_size=1, workers=0, scale=(scale, 1.0)
        )
        list(loader.epoch(0))
        assert asked.pop() == least
        list(loader.whole())
        assert asked.pop() == 64


@pytest.mark.parametrize("version", [0, 3, -1])
def test_a_version_that_does_not_exist_is_refused(version):
    with pytest.raises(ValueError, match=rf"decoding is 1 \(in full\) or 2 .*; got {version}"):
        OpenSetClassifier(["a", "b"], model="compact-s", image_size=32, decoding=version)
