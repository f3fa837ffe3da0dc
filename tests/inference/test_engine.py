"""The engines for pooled features: they agree, the faster one is chosen once, and PyTorch stands in for the other."""

import json
import multiprocessing

import pytest
import torch

from backmix.data.preprocess import Preprocess
from backmix.inference import engine
from backmix.inference.engine import OnnxEngine, TorchEngine, choose_engine, cores, measure, network_key, write_onnx
from backmix.models import create_backbone

PREPROCESS = Preprocess(32, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def make(seed: int = 0):
    torch.manual_seed(seed)
    backbone = create_backbone("compact-s", image_size=32, width=0.25)
    backbone(torch.randn(16, 3, 32, 32))  # Running statistics that are not the identity.
    return backbone.eval()


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (21, 3, 32, 32), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def by_hand(backbone, images):
    mean, std = (torch.tensor(each)[:, None, None] for each in (PREPROCESS.mean, PREPROCESS.std))
    with torch.no_grad():
        return backbone((images.float() / 255 - mean) / std).flatten(2).mean(2)


def test_both_engines_compute_the_mean_over_the_map(tmp_path, images):
    backbone = make().train()
    write_onnx(backbone, PREPROCESS, tmp_path / "net.onnx")
    assert backbone.training
    expected = by_hand(backbone.eval(), images)
    assert expected.shape == (21, backbone.num_features)
    for quick in (OnnxEngine(tmp_path / "net.onnx"), TorchEngine(backbone, PREPROCESS, "fp32")):
        torch.testing.assert_close(quick.pooled(images), expected, atol=1e-5, rtol=1e-4)
        assert quick.pooled(images).dtype == torch.float32
        with torch.no_grad():
            maps = backbone(PREPROCESS.normalise(images))
        torch.testing.assert_close(quick.maps(images), maps, atol=1e-4, rtol=1e-4)
        assert quick.maps(images).dtype == torch.float32
        # An image has the same features in a batch of any size, to the last bit, as calibration and prediction need.
        if isinstance(quick, OnnxEngine):
            assert torch.equal(quick.pooled(images), torch.cat([quick.pooled(one[None]) for one in images]))


def test_the_faster_engine_is_chosen_and_remembered(tmp_path, images, monkeypatch):
    backbone = make()
    rates = {"TorchEngine": 1.0, "OnnxEngine": 2.0}
    measured = []

    def fake(of, preprocess):
        measured.append(type(of).__name__)
        return rates[type(of).__name__]

    monkeypatch.setattr(engine, "measure", fake)
    first = choose_engine(backbone, PREPROCESS, folder=tmp_path)
    assert isinstance(first, OnnxEngine) and first.parallel == cores() and sorted(measured) == sorted(rates)
    (kept,) = tmp_path.glob("*.json")
    assert json.loads(kept.read_text())["images_per_second"] == {"torch": 1.0, "onnxruntime": 2.0}
    rates["TorchEngine"] = 3.0
    assert isinstance(choose_engine(backbone, PREPROCESS, folder=tmp_path, build=False), OnnxEngine)
    assert len(measured) == 2, "an engine is measured once on a machine"
    slow = choose_engine(make(1), PREPROCESS, folder=tmp_path)
    assert isinstance(slow, TorchEngine) and slow.parallel == 1
    assert isinstance(choose_engine(make(1), PREPROCESS, folder=tmp_path), TorchEngine) and len(measured) == 4


@pytest.mark.parametrize("case", ["no folder", "bf16", "not built", "no package", "no export"])
def test_pytorch_stands_in(tmp_path, images, monkeypatch, case):
    backbone = make()
    options = {"folder": tmp_path}
    if case == "no folder":
        options = {"folder": None}
    elif case == "bf16":
        options["precision"] = "bf16"
    elif case == "not built":
        options["build"] = False
    elif case == "no package":
        monkeypatch.setattr(engine, "find_spec", lambda name: None)
    else:
        monkeypatch.setattr(torch.onnx, "export", lambda *args, **kwargs: 1 / 0)
    found = choose_engine(backbone, PREPROCESS, **options)
    assert isinstance(found, TorchEngine) and not list(tmp_path.glob("*.json"))
    if case != "bf16":
        torch.testing.assert_close(found.pooled(images), by_hand(backbone, images), atol=1e-5, rtol=1e-4)


def test_a_damaged_file_is_written_again(tmp_path, images, monkeypatch):
    monkeypatch.setattr(engine, "measure", lambda of, _: 2.0 if isinstance(of, OnnxEngine) else 1.0)
    backbone = make()
    choose_engine(backbone, PREPROCESS, folder=tmp_path)
    (path,) = tmp_path.glob("*.onnx")
    path.write_bytes(b"not an ONNX file")
    assert isinstance(choose_engine(backbone, PREPROCESS, folder=tmp_path, build=False), TorchEngine)
    found = choose_engine(backbone, PREPROCESS, folder=tmp_path)
    assert isinstance(found, OnnxEngine) and path.stat().st_size > 1000
    torch.testing.assert_close(found.pooled(images), by_hand(backbone, images), atol=1e-5, rtol=1e-4)


def _begin(folder):
    torch.set_num_threads(1)
    return choose_engine(make(), PREPROCESS, folder=folder).name


def test_processes_that_begin_together_choose_alike(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        names = pool.map(_begin, [tmp_path, tmp_path], chunksize=1)
    assert names[0] == names[1] and len(list(tmp_path.glob("*.json"))) == 1


def test_the_key_names_weights_and_preprocessing():
    key = network_key(make(), PREPROCESS)
    assert key == network_key(make(), PREPROCESS)
    changed = make()
    with torch.no_grad():
        next(changed.parameters()).view(-1)[0] += 1e-6
    others = [
        network_key(changed, PREPROCESS),
        network_key(make(), Preprocess(64, PREPROCESS.mean, PREPROCESS.std)),
        network_key(make(), Preprocess(32)),
    ]
    assert len({key, *others}) == 4


def test_a_rate_is_images_in_a_second():
    assert measure(TorchEngine(make(), PREPROCESS, "fp32"), PREPROCESS) > 1
