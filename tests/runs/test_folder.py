"""The run folder: what is written comes back, and what was touched is refused."""

import json
import os
import pickle
import shutil
import stat
import sys
from importlib import metadata

import pytest
import signed_run
import torch
import yaml
from PIL import Image

from backmix.classifier import OpenSetClassifier
from backmix.data.folder import FolderSource
from backmix.errors import RunError
from backmix.methods import METHODS
from backmix.runs.folder import CHECKED, TRAINING, load_run, read_config


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def rewrite(folder, **changes):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config.update(changes)
    (folder / "config.yaml").write_text(yaml.safe_dump({k: v for k, v in config.items() if v is not ...}))


def refused(folder, message):
    with pytest.raises(RunError, match=message) as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)


def test_a_classifier_comes_back_the_same(trained, pictures, tmp_path):
    first = OpenSetClassifier.load(trained)
    first.save(tmp_path / "again")
    second = OpenSetClassifier.load(tmp_path / "again")
    source = FolderSource(pictures / "test")
    paths = [source.path(i) for i in range(len(source))]
    assert first.predict(paths) == second.predict(paths)
    assert first.evaluate(source) == second.evaluate(source)
    for name in ("classes", "detector", "accept", "precision", "settings", "preprocess"):
        assert getattr(first, name) == getattr(second, name)
    ours, theirs = first.network.state_dict(), second.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for name in (*CHECKED, TRAINING):
        assert (trained / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("name", ["1e5", "0o17", "08", "1.5e3", "-.5", "no", "1_000", "2024-01-01", "\udcff"])
def test_a_run_of_0_1_0_loads_whatever_its_texts_look_like(tmp_path, name):
    """The writer of 0.1.0 followed YAML 1.1, which leaves some numbers of YAML 1.2 bare where they are texts."""
    first = OpenSetClassifier(["a", "b"], model="compact-s", image_size=32)
    arguments = {"data": name, "lr": 1e-05, "seed": 10, "method_options": {name: [name, None, True, 1e16]}}
    first.save(tmp_path, extra={"arguments": arguments})
    config = read_config(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.dump(config, Dumper=WriterBefore, sort_keys=False, allow_unicode=True))
    assert (f"data: {name}\n" in (tmp_path / "config.yaml").read_text()) == (name not in BARE_FOR_NONE)
    assert load_run(tmp_path).classes == ["a", "b"]
    assert read_config(tmp_path) == config and config["arguments"] == arguments


class WriterBefore(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


BARE_FOR_NONE = ("no", "1_000", "2024-01-01", "\udcff")


def test_every_option_comes_back(tmp_path):
    first = OpenSetClassifier(
        ["[red]", "größer", "a,b"],
        model="compact-s",
        image_size=48,
        detector="energy",
        accept=0.9,
        precision="fp32",
        seed=4,
        model_options={"width": 0.25, "widths": (32, 32)},
        method_options={"label_smoothing": 0.1, "bias": False},
    )
    first.save(tmp_path, extra={"training": {"lr": 1e-05, "clip": 0.0, "name": None}})
    second = OpenSetClassifier.load(tmp_path)
    assert second.classes == ["[red]", "größer", "a,b"] and second.thresholds == {}
    assert (second.detector, second.accept, second.precision) == ("energy", 0.9, "fp32")
    assert second.preprocess == first.preprocess and second.network.head.label_smoothing == 0.1
    assert not second.network.training
    picture = Image.new("RGB", (60, 50), (9, 99, 199))
    first.network.eval()
    assert first.predict([picture]) == second.predict([picture])
    assert read_config(tmp_path)["training"] == {"lr": 1e-05, "clip": 0.0, "name": None}


@pytest.mark.parametrize("method", [name for name, of in METHODS.items() if of.learns_at_once])
def test_what_a_method_computed_at_once_comes_back_with_any_number_of_images(method, tmp_path):
    first = OpenSetClassifier(["a", "b"], model="compact-s", method=method, image_size=32, precision="fp32")
    network, random = first.network.eval(), torch.Generator().manual_seed(0)
    maps = torch.rand(25, network.backbone.num_features, 2, 2, generator=random)
    network.head.learn(lambda: [(maps, torch.arange(25) % 2)])
    first.save(tmp_path)
    second = OpenSetClassifier.load(tmp_path)
    ours, theirs = network.state_dict(), second.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    picture = Image.new("RGB", (32, 32), (9, 99, 199))
    assert first.predict([picture]) == second.predict([picture])


def test_normalisation_comes_back(tmp_path):
    first = OpenSetClassifier(["a", "b"], model="timm/resnet10t", image_size=64)
    first.preprocess = type(first.preprocess)(64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    first.save(tmp_path)
    assert OpenSetClassifier.load(tmp_path).preprocess == first.preprocess


def test_the_folder_can_be_moved_and_read_by_others(trained, copy):
    assert OpenSetClassifier.load(copy).classes == ["blue", "green", "red"]
    for name in (*CHECKED, TRAINING, "config.yaml", "metrics.json"):
        assert (trained / name).stat().st_mode & stat.S_IROTH or os.umask(os.umask(0)) & stat.S_IROTH, name


def test_the_files_are_readable_by_people(trained):
    assert json.loads((trained / "classes.json").read_text()) == ["blue", "green", "red"]
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["format"] == 1 and config["model"] == "compact-s" and config["image_size"] == 32
    assert config["arguments"]["known_classes"] == "red,green,blue" and config["training"]["epochs"] == 6
    calibration = json.loads((trained / "calibration.json").read_text())
    assert calibration["detector"] == "max_logit" and calibration["accept"] == 0.95


@pytest.mark.parametrize("name", [*CHECKED, TRAINING, "config.yaml"])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    refused(copy, name.replace(".", r"\."))


@pytest.mark.parametrize("name", [*CHECKED, TRAINING])
@pytest.mark.parametrize("damage", ["truncated", "altered", "empty", "longer"])
def test_an_altered_file_is_named(copy, name, damage):
    content = bytearray((copy / name).read_bytes())
    if damage == "altered":
        content[len(content) // 2] ^= 1
    changed = {"truncated": content[:-7], "altered": content, "empty": b"", "longer": content + b"x"}[damage]
    (copy / name).write_bytes(changed)
    refused(copy, rf"{name} is not the file this run was saved with .*SHA-256")


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": 64},
        {"mean": [0.0, 0.0, 0.0]},
        {"model": "compact"},
        {"precision": "fp16"},
        {"method_options": {"label_smoothing": 0.5}},
        {"note": "mine"},
        {"model": ...},
        {"files": {}},
        {"files": "none"},
        {"files": []},
    ],
    ids=str,
)
def test_an_altered_config_is_refused(copy, changes):
    rewrite(copy, **changes)
    refused(copy, r"config\.yaml was altered since this run was saved")


def test_the_layout_of_the_config_is_free(copy):
    config = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text("# a comment\n" + yaml.safe_dump(config, default_flow_style=True, sort_keys=True))
    assert OpenSetClassifier.load(copy).classes == ["blue", "green", "red"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "was not written by backmix"),
        ("- 1\n- 2\n", "was not written by backmix"),
        ("model: compact\n", "it has no `format`"),
        ("format: [1\nmodel: {", "is not readable YAML"),
        ("!!python/object/apply:os.system ['touch trace']", "is not readable YAML"),
        ("\x00\x01", "is not readable YAML"),
    ],
)
def test_a_config_that_is_none(copy, content, message, monkeypatch):
    monkeypatch.chdir(copy)
    (copy / "config.yaml").write_text(content)
    refused(copy, message)
    assert not (copy / "trace").exists()


def test_a_config_that_is_no_text(copy):
    (copy / "config.yaml").write_bytes(b"\xff\xfe\x80abc")
    refused(copy, "is not readable YAML")


@pytest.mark.parametrize("version", [0, 2, "1", None, [1]])
def test_a_run_of_another_version_says_which(copy, version):
    rewrite(copy, format=version, backmix="9.9.9")
    refused(copy, r"written in run format .* by backmix 9\.9\.9; this is backmix .*, which reads format 1")


def test_a_version_of_a_million_letters_is_not_shown_whole(copy):
    rewrite(copy, format="a" * 10**6, backmix="b" * 10**6)
    with pytest.raises(RunError) as caught:
        read_config(copy)
    assert len(str(caught.value)) < 600


def test_a_half_finished_run_says_how_to_go_on(copy):
    rewrite(copy, files=...)
    refused(copy, "did not finish. Go on with `backmix fit ... --resume`")


def test_what_is_no_folder_and_no_run(trained, tmp_path):
    refused(tmp_path / "nowhere", "is not a folder. A run is the folder given to")
    refused(trained / "config.yaml", "is not a folder")
    refused(tmp_path, r"has no config\.yaml, so it is not a run")


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_in_place_of_the_weights_is_not_run(copy, tmp_path, signed, writer):
    """Not even when whoever put it there made the fingerprints fit."""
    from backmix.files import sha256
    from backmix.runs.folder import _digest

    path, trace = copy / "model.safetensors", tmp_path / "trace"
    state = {"weight": Trap(str(trace))}
    path.write_bytes(pickle.dumps(state)) if writer == "pickle" else torch.save(state, path)
    if signed:
        config = yaml.safe_load((copy / "config.yaml").read_text())
        files = config.pop("files")
        files["model.safetensors"] = sha256(path)
        config["files"] = files | {"config.yaml": _digest(config)}
        (copy / "config.yaml").write_text(yaml.safe_dump(config))
    refused(copy, "cannot be read as a run" if signed else "is not the file this run was saved with")
    assert not trace.exists()


def test_a_run_written_over_and_cut_off_midway_is_refused(copy, monkeypatch):
    """config.yaml is written last, so old fingerprints meet new weights."""
    import backmix.runs.folder

    classifier = OpenSetClassifier(["blue", "green", "red"], model="compact-s", seed=9)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(backmix.runs.folder, "write_text", stop)
    with pytest.raises(KeyboardInterrupt):
        classifier.save(copy)
    monkeypatch.undo()
    refused(copy, "model.safetensors is not the file this run was saved with")


def test_loading_needs_no_network_and_no_pretrained_weights(copy, monkeypatch):
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("opened a connection"))
    OpenSetClassifier.load(copy)


def sign(folder):
    """Fingerprints that fit what is there."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    signed_run.sign(folder, config, [name for name in config["files"] if name != "config.yaml"])


def test_a_run_of_before_detectors_were_fitted_still_loads(copy, pictures):
    (copy / TRAINING).unlink()
    sign(copy)
    classifier = OpenSetClassifier.load(copy)
    assert classifier.training_outputs is None
    result = classifier.evaluate(FolderSource(pictures / "test"))
    assert list(result["detectors"]) == ["method", "msp", "max_logit", "energy"]
    assert "the run comes from an earlier version" in result["left_out"]["openmax"]
    # Written again it is such a run still, even where another one had them.
    shutil.copy(copy / "classes.json", copy / TRAINING)
    classifier.save(copy)
    assert not (copy / TRAINING).exists() and OpenSetClassifier.load(copy).training_outputs is None


def test_what_detectors_are_fitted_on_is_read_when_asked_for_and_checked_again(copy):
    kept = OpenSetClassifier.load(copy).training_outputs
    assert kept.logits.shape[1] == 3 and len(kept.logits) == len(kept.features) == len(kept.labels) > 50
    classifier = OpenSetClassifier.load(copy)
    content = bytearray((copy / TRAINING).read_bytes())
    content[-1] ^= 1
    (copy / TRAINING).write_bytes(content)
    classifier.predict([Image.new("RGB", (32, 32))])
    with pytest.raises(RunError, match=r"training\.safetensors has changed since the run was loaded"):
        classifier.ready_detector("openmax")
    (copy / TRAINING).unlink()
    with pytest.raises(RunError, match=r"training\.safetensors cannot be read any more"):
        classifier.ready_detector("openmax")


@pytest.mark.parametrize("other", ["model.safetensors", "classes.json"])
def test_a_signed_file_of_another_kind_is_refused(copy, other):
    shutil.copy(copy / other, copy / TRAINING)
    sign(copy)
    with pytest.raises(RunError, match=r"training\.safetensors does not hold what detectors are fitted on"):
        OpenSetClassifier.load(copy).ready_detector("openmax")


def test_a_run_written_over_itself_keeps_what_detectors_are_fitted_on(copy):
    before = (copy / TRAINING).read_bytes()
    OpenSetClassifier.load(copy).save(copy)
    assert (copy / TRAINING).read_bytes() == before
    OpenSetClassifier.load(copy).ready_detector("openmax")


def forge(folder, **changes):
    """Settings and files as somebody wants them, with fingerprints that fit."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    names = [name for name in config.pop("files") if name != "config.yaml"]
    for name, content in changes.pop("files", {}).items():
        (folder / name).write_text(content)
    signed_run.sign(folder, {**config, **changes}, names)
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"model_options": {"widths": [10**7]}},
        {"model_options": {"widths": [8] * 5000}},
        {"model_options": {"width": 1e300}},
        {"model_options": {"stem_channels": 2**40}},
        {"model_options": 3},
        {"model_options": {"widths": "abc"}},
        {"model_options": {"in_channels": 2}},
        {"model": "wrn-40-4", "model_options": {"depth": 6 * 10**9 + 4, "width": 0.01}},
        {"model": "vit_giant_patch14_dinov2", "image_size": 518},
        {"model": "vit_small_patch14_dinov2", "model_options": {"depth": 10**9}, "image_size": 518},
        {"model": 5},
        {"model": None},
        {"model": ["compact"]},
        {"method": {"a": 1}},
        {"method_options": {"label_smoothing": "much"}},
        {"image_size": 10**6},
        {"image_size": "32"},
        {"image_size": -(10**30)},
        {"precision": None},
        {"mean": None},
        {"std": [0, 0, 0]},
        {"std": ["a", "b", "c"]},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_forged_settings_are_refused_and_take_nothing(copy, changes):
    refused(forge(copy, **changes), "cannot be read as a run of backmix")


@pytest.mark.parametrize(
    "content",
    [
        '"ab"',
        '["red", "green", 3]',
        '{"red": 1, "green": 2, "blue": 3}',
        "[" * 10**6,
        "[" + ",".join(['"a"'] * 10**6) + "]",
        json.dumps([str(number) for number in range(10**5)]),
        "",
        "null",
    ],
    ids=lambda content: content[:20],
)
def test_forged_classes_are_refused(copy, content):
    refused(forge(copy, files={"classes.json": content}), "cannot be read as a run of backmix")


def test_classes_that_are_too_large_are_not_read(copy):
    refused(forge(copy, files={"classes.json": '"' + "a" * 2**23 + '"'}), "classes.json is larger than 8 MiB")


@pytest.mark.parametrize(
    "calibration",
    [
        [],
        {},
        {"thresholds": []},
        {"thresholds": {"max_logit": {}}},
        {"thresholds": {"max_logit": {"rule": "split-conformal", "scores": "x"}}},
        {"detector": "../../x"},
        {"detector": {"a": 1}},
        {"accept": 2.0},
        {"accept": "0.95"},
        {"accept": float("nan")},
        {"class_thresholds": [None]},
        {"class_thresholds": 7},
    ],
    ids=str,
)
def test_forged_calibration_is_refused(copy, calibration):
    before = json.loads((copy / "calibration.json").read_text())
    content = {**before, **calibration} if calibration and isinstance(calibration, dict) else calibration
    refused(forge(copy, files={"calibration.json": json.dumps(content)}), "cannot be read as a run of backmix")


@pytest.mark.parametrize("model", ["hf-hub:someone/net", "local-dir:/srv/net", "hf_hub:someone/net", "timm:resnet18"])
def test_a_network_that_lies_in_another_place_is_not_asked_for(copy, model, monkeypatch):
    import socket

    import timm

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("opened a connection"))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("asked timm"))
    refused(forge(copy, model=model), "lies in another place, which is not asked")


def test_a_run_of_a_network_from_another_place_is_loaded_without_that_place(tmp_path):
    place = tmp_path / "net"
    place.mkdir()
    arguments = {"stem_width": 16}
    described = {"architecture": "resnet10t", "model_args": arguments, "pretrained_cfg": {"input_size": [3, 64, 64]}}
    (place / "config.json").write_text(json.dumps(described))
    first = OpenSetClassifier(["a", "b"], model=f"local-dir:{place}", image_size=64, precision="fp32")
    assert first.settings["model"] == "resnet10t" and first.settings["model_options"] == arguments
    first.save(tmp_path / "run")
    shutil.rmtree(place)
    second = OpenSetClassifier.load(tmp_path / "run")
    picture = Image.new("RGB", (64, 64), (9, 99, 199))
    first.network.eval()
    assert first.predict([picture]) == second.predict([picture])


@pytest.mark.parametrize("option", ["checkpoint_path", "cache_dir", "pretrained_cfg", "pretrained_cfg_overlay"])
def test_options_that_name_other_files_open_none(tmp_path, option):
    """timm opens whatever file `checkpoint_path` names."""
    path, trace = tmp_path / "other.bin", tmp_path / "trace"
    torch.save({"state_dict": Trap(str(trace))}, path)
    folder = tmp_path / "run"
    first = OpenSetClassifier(["a", "b"], model="timm/resnet10t", image_size=64)
    first.save(folder)
    value = {"file": str(path), "url": str(path)} if option.startswith("pretrained") else str(path)
    second = load_run(forge(folder, model_options={option: value}))
    assert not trace.exists() and second.settings["model_options"] == {}
    assert all(torch.equal(a, b) for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True))


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "sub/../../outside.json", "a\x00b", "~"])
def test_names_of_files_that_lead_elsewhere_are_not_followed(copy, tmp_path, name):
    (tmp_path / "outside.json").write_text("{}")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["files"][name] = "0" * 64
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    opened, watching = [], True
    # A hook cannot be taken away again, so it is told when to stop.
    sys.addaudithook(lambda event, args: watching and event == "open" and opened.append(str(args[0])))
    classifier = load_run(copy)
    watching = False
    assert classifier.classes == ["blue", "green", "red"] and str(copy / "classes.json") in opened
    assert not [path for path in opened if path.endswith(("outside.json", "passwd"))]


def test_references_in_the_config_are_refused(copy):
    text = (copy / "config.yaml").read_text()
    bomb = "k0: &k0 [x]\n" + "".join(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9)}]\n" for n in range(1, 20))
    (copy / "config.yaml").write_text(text + bomb)
    refused(copy, "is not readable YAML as backmix writes it: line .*: found .&k0., an anchor")


def altered(value, kind):
    """The same tensor of another type, or with a value that is no number."""
    if kind in ("nan", "inf"):
        value = value.clone()
        value.view(-1)[0] = float(kind)
        return value
    return value.to(getattr(torch, kind))


@pytest.mark.parametrize("kind", ["int8", "bool", "complex64", "float16", "float64", "nan", "inf"])
def test_weights_of_another_type_or_without_value_are_named(copy, kind):
    from safetensors.torch import load_file, save_file

    if kind == "complex64" and metadata.version("safetensors") < "0.7":
        pytest.skip("safetensors before 0.7 writes no complex numbers")
    weights = load_file(copy / "model.safetensors")
    name = next(name for name, value in weights.items() if value.is_floating_point())
    save_file({**weights, name: altered(weights[name], kind)}, copy / "model.safetensors")
    sign(copy)
    found = "no finite numbers" if kind in ("nan", "inf") else f"are {kind}; expected float32"
    refused(copy, f"cannot be read as a run of backmix .*weights {name} .*{found}|of the .* weights {name} {found}")


def test_a_counter_of_another_type_is_named(copy):
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    name = next(name for name, value in weights.items() if not value.is_floating_point())
    save_file({**weights, name: weights[name].float()}, copy / "model.safetensors")
    sign(copy)
    refused(copy, f"{name} are float32; expected int64")


def test_a_reader_waits_for_a_process_that_writes_the_run_over(copy, monkeypatch):
    import backmix.runs.folder as module

    whole = (copy / "classes.json").read_bytes()
    (copy / "classes.json").write_bytes(b"[]")
    turns = []

    def is_locked(folder):
        turns.append(folder)
        (copy / "classes.json").write_bytes(whole)
        return True

    monkeypatch.setattr(module, "is_locked", is_locked)
    assert load_run(copy).classes == ["blue", "green", "red"] and turns == [copy]
    monkeypatch.setattr(module, "is_locked", lambda folder: False)
    (copy / "classes.json").write_bytes(b"[]")
    refused(copy, "classes.json is not the file")


@pytest.mark.parametrize("name", ["a\x85b", "a\u2028b", "größer", "a: *b", "'\"\\", "\ufeffa", "\u202eb"])
def test_names_with_odd_characters_do_not_spoil_the_config(tmp_path, name):
    OpenSetClassifier([name, "b"], model="compact-s").save(
        tmp_path, extra={"arguments": {"known_classes": f"{name},b"}}
    )
    assert load_run(tmp_path).classes == [name, "b"]
    assert read_config(tmp_path)["arguments"]["known_classes"] == f"{name},b"
