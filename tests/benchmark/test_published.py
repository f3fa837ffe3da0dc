"""Published figures: where they come from is said, and none stands beside what it does not belong to."""

import json
from importlib.resources import files

import pytest

from backmix.augmentations import BACKMIXES
from backmix.benchmark.protocols import PROTOCOLS
from backmix.benchmark.published import (
    CONFIDENCES,
    RECALLED,
    all_published,
    notes_on,
    published_beside,
    published_for,
)
from backmix.benchmark.results import FIGURES
from backmix.benchmark.summary import RowSetting as Setting
from backmix.detectors import METHOD, OURS
from backmix.methods import METHODS

SETTING = {
    "protocol": "cifar10",
    "split_list": "cssr",
    "unknown_set": "unknown",
    "recipe": "cpu",
    "method": "softmax",
    "detector": "method",
    "augmentation": "none",
    "variant": "",
}


def beside(metric="auroc", **changes):
    return {entry.name: entry.mean for entry in published_beside(Setting(**(SETTING | changes)), metric)}


def test_every_figure_has_its_source_and_its_confidence():
    for entry in all_published():
        assert entry.confidence in CONFIDENCES and entry.source and entry.name and entry.metric
        assert entry.name in entry.origin and entry.source in entry.origin and entry.confidence in entry.origin
        assert entry.metric not in FIGURES or 0 < entry.mean <= 1
    assert len(all_published()) == 564
    assert sum(entry.confidence == RECALLED for entry in all_published()) == 286


def test_the_file_says_nothing_of_how_it_was_found():
    content = json.loads((files("backmix.benchmark") / "published.json").read_text())
    assert content.keys() == {"about", "results"}
    keys = {"dataset", "protocol", "method", "metric", "mean", "source", "confidence"}
    assert all(entry.keys() == keys for entry in content["results"])


def test_both_tables_of_the_project_page():
    names = ("OSRCI", "CROSR", "C2AE", "CGDL", "GDFR", "PROSER", "Plain*", "Plain*+BackMix")
    names += ("ARPL", "ARPL+BackMix", "CSSR", "CSSR+BackMix")
    table = {
        "svhn": (91.0, 89.9, 92.2, 93.5, 93.5, 94.3, 88.6, 97.0, 95.3, 96.4, 96.7, 97.7),
        "cifar10": (69.9, 88.3, 89.5, 90.3, 83.1, 89.1, 67.7, 91.3, 89.8, 91.0, 90.7, 94.2),
        "cifar+10": (83.8, 91.2, 95.5, 95.9, 91.5, 96.0, 81.6, 91.9, 91.3, 93.4, 91.5, 96.4),
        "cifar+50": (82.7, 90.5, 93.7, 95.0, 91.3, 95.3, 80.5, 91.6, 90.8, 92.3, 90.9, 95.7),
        "tiny-imagenet": (58.6, 58.9, 74.8, 76.2, 64.7, 69.3, 57.7, 80.4, 76.0, 76.3, 80.6, 83.1),
    }
    for protocol, printed in table.items():
        found = [entry for entry in published_for(protocol, "cssr", "auroc") if "page, table 1" in entry.source]
        assert {entry.name: round(100 * entry.mean, 1) for entry in found} == dict(zip(names, printed, strict=True))
        assert all(entry.confidence == "verified" and entry.split_list is None for entry in found)
    metrics = ("detection_accuracy", "auroc", "aupr_in", "aupr_out")
    for unknown, printed in {"cifar100": (86.3, 93.0, 93.7, 91.7), "svhn": (96.4, 99.2, 98.4, 99.6)}.items():
        for metric, mean in zip(metrics, printed, strict=True):
            found = published_for("cifar10-ood", "", metric, unknown)
            (one,) = (entry for entry in found if entry.name == "CSSR+BackMix")
            assert one.mean == pytest.approx(mean / 100) and one.unknown_set == unknown


def test_names_are_ours_where_they_are_said_to_be():
    ours = [entry for entry in all_published() if entry.method in METHODS]
    assert {entry.augmentation for entry in all_published()} <= {"none", *BACKMIXES}
    assert {entry.detector for entry in ours} <= {"", METHOD, *OURS}
    assert {"softmax", "arpl", "arpl-cs", "pcssr", "rcssr", "gcpl", "rpl", "proser", "conosr", "negcossch"} == {
        entry.method for entry in ours
    }
    for entry in all_published():
        if entry.protocol in PROTOCOLS:
            protocol = PROTOCOLS[entry.protocol]
            first = protocol.trials(protocol.default_list)["a"]
            assert entry.split_list is None or entry.split_list in protocol.split_lists
            # Where there are several sets, a figure says of which it is; accuracy is of none.
            several = len(first.unknown) > 1
            assert entry.unknown_set in (first.unknown if several and entry.metric != "accuracy" else ("",))
    assert {entry.protocol for entry in all_published()} & PROTOCOLS.keys() == {
        *("mnist", "svhn", "cifar10", "cifar+10", "cifar+50", "tiny-imagenet"),
        *("cifar10-ood", "cub", "stanford-cars", "fgvc-aircraft"),
    }


def test_another_split_list_is_left_out_an_unknown_one_says_so():
    for split_list in ("arpl", "neal", "cssr", "f1"):
        found = published_for("cifar10", split_list, "auroc")
        assert {entry.split_list for entry in found} - {None} == {split_list} & {"arpl", "neal"}
        assert all(("split list not known" in entry.origin) == (entry.split_list is None) for entry in found)
    assert [entry.mean for entry in published_for("cifar10", "arpl", "oscr")] == [0.838, 0.843, 0.852, 0.866, 0.879]
    assert published_for("cifar10", "cssr", "oscr") == [] and published_for("digits", "", "auroc") == []


def test_figures_of_other_tasks_on_the_same_images_stay_away():
    # One class against the others, and all of CIFAR-10 against other sets, are no trials of six known classes.
    names = {entry.name for metric in FIGURES for entry in published_for("cifar10", "arpl", metric)}
    assert not names & {"CSI", "SupCLR", "MSP", "Energy", "Outlier Exposure", "Rotation head"}
    assert {entry.name for entry in published_for("cifar10-ood", "", "auroc", "svhn")}.isdisjoint({"MSP", "Energy"})


def test_beside_ours_stand_method_augmentation_and_score():
    assert beside() == {"Plain*": 0.677, "MLS (closed-set paper)": 0.936}
    assert beside(augmentation="backmix") == {"Plain*+BackMix": 0.913}
    assert beside(augmentation="backmix", variant="patch_side=0.5") == {} == beside(augmentation="swap")
    assert beside(detector="msp") == {"Plain*": 0.677}
    assert beside(detector="max_logit") == beside()
    assert beside(split_list="arpl", detector="msp") == {"Plain*": 0.677, "MSP+ (same training recipe)": 0.901}
    assert beside(split_list="neal", detector="openmax") == {"Plain*": 0.677, "OpenMax": 0.695}
    assert beside(method="pcssr", augmentation="backmix") == {"CSSR+BackMix": 0.942}
    assert beside(method="pcssr", detector="msp") == {} == beside(method="cac")
    assert beside(protocol="tiny-imagenet", method="negcossch") == {"CE + M-NegCosSch": 0.7921}
    # Closed accuracy is the same whatever the score.
    tiny = {"protocol": "tiny-imagenet", "split_list": "arpl", "detector": "energy"}
    assert beside("accuracy", **tiny) == {"CE constant temperature": 0.8195, "MLS, VGG32": 0.842}


def test_semantic_shift_is_told_apart_by_its_sets():
    cub = {"protocol": "cub", "split_list": ""}
    assert beside(unknown_set="easy", **cub)["CE constant temperature"] == 0.8355
    assert beside(unknown_set="hard", **cub)["CE constant temperature"] == 0.7498
    assert beside("accuracy", unknown_set="hard", **cub)["CE constant temperature"] == 0.8443


def test_notes_say_what_must_be_known_of_what_is_shown():
    def notes(**changes):
        return " ".join(notes_on(published_beside(Setting(**(SETTING | changes)), "auroc")))

    assert notes(method="cac") == ""
    said = notes()
    assert "are quoted" in said and "Which split list BackMix used is not known" in said and "Recalled" not in said
    said = notes(method="arpl")
    assert "Plain*" not in said and "Which split list" in said
    assert "Recalled figures" in said and "never a pass mark" in said
    assert "Which split list" not in notes(method="conosr")
    ood = {"protocol": "cifar10-ood", "split_list": "", "unknown_set": "svhn"}
    assert "are quoted" in notes(**ood) and "Which split list" not in notes(**ood)
