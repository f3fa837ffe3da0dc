"""Means of the maps inside a network, the detector that looks at them, and what a run keeps of them."""

import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from backmix.classifier import OpenSetClassifier
from backmix.cli.fit_command import fit_command
from backmix.data.folder import FolderSource
from backmix.data.preprocess import Preprocess
from backmix.detectors import DETECTORS
from backmix.detectors.fitting import ready_detector
from backmix.detectors.stages import STAGES_LIMIT, stage_means, stages_of
from backmix.detectors.training_outputs import TrainingOutputs
from backmix.files import sha256
from backmix.fit.arguments import FitArguments
from backmix.methods.network import create_network
from backmix.models import create_backbone
from backmix.runs.folder import TRAINING, _digest

PREPROCESS = Preprocess(32)


def images(count, seed=0, size=32):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Staged(nn.Module):
    """Each stage gives what it is told to."""

    name = "staged"

    def __init__(self, *outputs):
        super().__init__()
        self.outputs = outputs
        self.inner = nn.ModuleList([nn.Identity() for _ in outputs])

    def stages_inside(self):
        return list(self.inner)

    def forward(self, x):
        for stage, output in zip(self.inner, self.outputs):
            stage(output)
        return x


@pytest.mark.parametrize("name", ["compact-s", "vgg32", "resnet18-small", "wrn-40-4"])
def test_means_are_those_of_the_maps_after_all_stages_but_the_last(name):
    backbone = create_backbone(name, image_size=32).eval()
    seen = []
    handles = [
        stage.register_forward_hook(lambda module, _, output: seen.append(output.clone()))
        for stage in backbone.stages_inside()
    ]
    with torch.no_grad():
        plain = backbone(images(3))
        for handle in handles:
            handle.remove()
        maps, means = stage_means(backbone, images(3))
    assert torch.equal(maps, plain) and len(means) == len(seen) - 1 >= 2
    for found, stage in zip(means, seen):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, stage.mean((2, 3)))
    assert not any(module._forward_hooks for module in backbone.modules())


def test_tokens_and_channels_last_maps_are_averaged_over_their_places():
    tokens, last, first = torch.rand(2, 10, 8), torch.rand(2, 4, 4, 8), torch.rand(2, 8, 4, 4)
    means = stage_means(Staged(tokens, last, first, None), images(2))[1]
    expected = [tokens.mean(1), last.mean((1, 2)), first.mean((2, 3))]
    assert len(means) == 3 and all(torch.allclose(a, b) for a, b in zip(means, expected))
    # A map as wide as it has channels: as the model says.
    square = torch.rand(2, 4, 4, 4)
    told = Staged(square, None)
    assert torch.allclose(stage_means(told, images(2))[1][0], square.mean((2, 3)))
    told.model = type("Model", (), {"output_fmt": "NHWC"})
    assert torch.allclose(stage_means(told, images(2))[1][0], square.mean((1, 2)))


def test_what_is_no_map_is_passed_over_and_no_stages_are_none():
    means = stage_means(Staged((torch.rand(2, 3), 1), torch.rand(2, 8, 4, 4), torch.rand(2), None), images(2))[1]
    assert [tuple(mean.shape) for mean in means] == [(2, 8)]
    assert stage_means(nn.Identity(), images(2))[1] == [] == stages_of(nn.Identity())
    assert stages_of(Staged()) == [] == stages_of(Staged(None))


@pytest.mark.parametrize(
    ("count", "taken"), [(2, [0]), (5, [0, 1, 2, 3]), (6, [0, 1, 3, 4]), (12, [1, 4, 6, 9]), (24, [4, 9, 13, 18])]
)
def test_of_many_stages_some_evenly_spread_are_taken(count, taken):
    staged = Staged(*range(count))
    stages = stages_of(staged)
    assert len(stages) <= STAGES_LIMIT and [list(staged.inner).index(stage) for stage in stages] == taken


def test_a_transformer_of_timm_has_means_of_its_blocks():
    options = {"embed_dim": 24, "num_heads": 2, "depth": 3, "patch_size": 8}
    backbone = create_backbone("vit_tiny_patch16_224", image_size=32, **options).eval()
    with torch.no_grad():
        means = stage_means(backbone, images(2))[1]
    assert [tuple(mean.shape) for mean in means] == [(2, 24), (2, 24)]


# multi_mahalanobis


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("pytorch_ood")
    torch.manual_seed(0)
    network = create_network("vgg32", "softmax", 3, image_size=32, model_options={"width": 0.125})
    with torch.no_grad():
        for _ in range(3):
            network(images(32))
    return network.eval()


def kept_of(network, count=120):
    with torch.no_grad():
        maps, stages = stage_means(network.backbone, images(count, seed=9))
        logits, features = network.head.logits(maps), network.head.pooled(maps)
    return TrainingOutputs.of(logits, features, torch.arange(count) % 3, stages)


def test_agrees_with_a_slow_reference(network):
    """Half the squared distance to the nearest class mean, summed over layers; pytorch-ood's covariance is a sum."""
    kept = kept_of(network)
    with torch.no_grad():
        maps, stages = stage_means(network.backbone, images(6))
        test = [*stages, network.head.pooled(maps)]
    expected = [0.0] * 6
    for training, layer in zip([*kept.stages, kept.features], test, strict=True):
        wide = training.double()
        means = torch.stack([wide[kept.labels == k].mean(0) for k in range(3)])
        precision = torch.linalg.inv((wide - means[kept.labels]).T @ (wide - means[kept.labels]))
        for i, z in enumerate(layer.double()):
            expected[i] += min(float((z - m) @ precision @ (z - m)) for m in means) / 2
    detector = ready_detector("multi_mahalanobis", network, PREPROCESS, lambda: kept)
    assert len(test) == 3 and detector.score_images(images(6)).tolist() == pytest.approx(expected, rel=1e-3)


def test_layers_have_weights(network):
    kept = kept_of(network)

    def scores(alpha):
        detector = DETECTORS["multi_mahalanobis"](alpha=alpha)
        detector.attach(network.head, network.backbone, PREPROCESS)
        detector.fit_kept(kept)
        return detector.score_images(images(6))

    torch.testing.assert_close(2 * scores([1, 0, 0]) + 3 * scores([0, 0, 1]), scores([2, 0, 3]))
    plain = ready_detector("mahalanobis", network, PREPROCESS, lambda: kept)
    with torch.no_grad():
        maps = network.backbone(images(6))
    expected = plain(network.head.logits(maps), network.head.pooled(maps))
    torch.testing.assert_close(scores([0, 0, 1]), expected.float(), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="multi_mahalanobis: "):
        scores([1.0])


def test_what_it_needs_is_said(network):
    detector = ready_detector("multi_mahalanobis", network, PREPROCESS, None)
    kept = kept_of(network)
    with pytest.raises(ValueError, match="multi_mahalanobis is fitted on several layers; call fit_layers"):
        detector.fit(kept.logits, kept.features, kept.labels)
    with pytest.raises(ValueError, match="multi_mahalanobis: attach it to a network first"):
        DETECTORS["multi_mahalanobis"]().fit_kept(kept)
    with pytest.raises(ValueError, match="multi_mahalanobis: no training image of class number 2"):
        detector.fit_layers(kept.stages, kept.labels.clamp(max=1))
    with pytest.raises(
        ValueError, match=r"of which nothing was kept.*earlier version.*fit \.\.\. --resume.*mahalanobis"
    ):
        detector.fit_kept(TrainingOutputs.of(kept.logits, kept.features, kept.labels))
    bare = create_network("vgg32", "softmax", 3, image_size=32)
    bare.backbone = nn.Sequential(bare.backbone)
    with pytest.raises(ValueError, match="multi_mahalanobis: looks at the maps inside a network, and Sequential does"):
        ready_detector("multi_mahalanobis", bare, PREPROCESS, None)


# What a run keeps.


def test_means_come_back_as_they_were_written():
    kept = TrainingOutputs.of(
        torch.rand(4, 2), torch.rand(4, 3), torch.tensor([0, 1, 0, 1]), [torch.rand(4, 5), torch.full((4, 2), 7e4)]
    )
    assert [means.dtype for means in kept.stages] == [torch.float16, torch.float32]
    assert list(kept.tensors()) == ["logits", "features", "labels", "stage_0", "stage_1"]
    back = TrainingOutputs.from_tensors(dict(sorted(kept.tensors().items(), reverse=True)))
    assert all(torch.equal(back.tensors()[name], value) for name, value in kept.tensors().items())
    tensors = kept.tensors()
    for missing in ("logits", "labels", "stage_0"):
        with pytest.raises(TypeError):
            TrainingOutputs.from_tensors({name: value for name, value in tensors.items() if name != missing})
    with pytest.raises(TypeError):
        TrainingOutputs.from_tensors({**tensors, "weights": torch.rand(2)})


def without_stages(run):
    """As a run of an earlier version is."""
    tensors = load_file(run / TRAINING)
    save_file({name: value for name, value in tensors.items() if not name.startswith("stage_")}, run / TRAINING)
    config = yaml.safe_load((run / "config.yaml").read_text())
    files = config.pop("files") | {TRAINING: sha256(run / TRAINING)}
    config["files"] = {**files, "config.yaml": _digest(config)}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return len(tensors) - 3


def test_a_run_without_means_loads_says_what_to_do_and_that_does_it(trained, pictures, tmp_path):
    pytest.importorskip("pytorch_ood")
    run = shutil.copytree(trained, tmp_path / "run")
    assert without_stages(run) == 2
    source = FolderSource(pictures / "test")
    result = OpenSetClassifier.load(run).evaluate(source, detectors=["all"])
    assert "`backmix fit ... --resume` on it keeps them" in result["left_out"]["multi_mahalanobis"]
    weights = (run / "model.safetensors").read_bytes()
    options = {"model": "compact-s", "image_size": 32, "epochs": 6, "lr": 0.05, "precision": "fp32"}
    fit_command(FitArguments(str(pictures), known_classes="red,green,blue", **options), run, resume=True)
    assert (run / "model.safetensors").read_bytes() == weights
    result = OpenSetClassifier.load(run).evaluate(source, detectors=["multi_mahalanobis"])
    assert result["detectors"]["multi_mahalanobis"]["auroc"] > 0.9


def test_it_decides_from_calibration_on(trained, pictures):
    pytest.importorskip("pytorch_ood")
    classifier = OpenSetClassifier.load(trained)
    classifier.detector = "multi_mahalanobis"
    classifier.calibrate(FolderSource(pictures / "train"), accept=0.9)
    source = FolderSource(pictures / "test")
    answers = classifier.predict([source.path(i) for i in range(len(source))])
    rule = classifier.thresholds["multi_mahalanobis"]
    assert all((a.label == "unknown") == (a.unknown_score - rule.tolerance > rule.threshold) for a in answers)
    grey = source.classes.index("grey")
    assert all(a.label == "unknown" for a, label in zip(answers, source.labels.tolist()) if label == grey)
