"""The images a run trained on, in the order of its bank."""

import json
import shutil

import torch

from backmix.data.folder import image_key
from backmix.data.load import load_source
from backmix.data.split import repeat_rare
from backmix.report.run_facts import read_facts
from backmix.report.training_images import kept_bank, shares_of, training_positions
from backmix.runs.folder import load_run
from backmix.train.checkpoint import load_checkpoint, save_checkpoint


def test_positions_are_those_that_nothing_else_took(mixed_run, pictures):
    source, facts, shares = load_source(str(pictures / "train")), read_facts(mixed_run), shares_of(mixed_run)
    found = training_positions(facts, load_run(mixed_run), source, shares, None)
    assert len(found) == facts.metrics["images"]["train"] == len(kept_bank(mixed_run / "checkpoint.pt")["maps"])
    held = {*shares.calibration.images, *shares.test.images}
    assert held.isdisjoint(image_key(source, k) for k in found.tolist())
    names = {source.classes[label] for label in source.labels[found].tolist()}
    assert names == {"red", "green", "blue"} and found.tolist() == sorted(found.tolist())


def test_unreadable_images_have_no_place_in_the_bank(mixed_run, pictures, tmp_path):
    run = shutil.copytree(mixed_run, tmp_path / "run")
    source, classifier, shares = load_source(str(pictures / "train")), load_run(run), shares_of(run)
    before = training_positions(read_facts(run), classifier, source, shares, None)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["unreadable"] = [{"path": source.name(int(before[3])), "reason": "broken"}]
    (run / "metrics.json").write_text(json.dumps(metrics))
    after = training_positions(read_facts(run), classifier, source, shares, None)
    assert after.tolist() == [k for k in before.tolist() if k != int(before[3])]


def test_images_of_rare_classes_stand_several_times_where_the_bank_says_so(trained, pictures):
    source, classifier, facts = load_source(str(pictures), "train"), load_run(trained), read_facts(trained)
    labels = classifier.labels_for(source)
    source.labels[10:40] = -1  # Ten red, forty of the others.
    few = training_positions(facts, classifier, source, None, "train")
    repeated = repeat_rare(classifier.labels_for(source), few)
    assert len(few) == 90 and len(repeated) == 100 and len(labels) == 160
    assert training_positions(facts, classifier, source, None, "train", 100).tolist() == repeated.tolist()
    assert training_positions(facts, classifier, source, None, "train", 77).tolist() == few.tolist()


def test_a_bank_that_is_not_there_or_has_no_map(mixed_run, trained, tmp_path):
    assert kept_bank(tmp_path / "nothing.pt") is None and kept_bank(trained / "checkpoint.pt") is None
    (tmp_path / "broken.pt").write_bytes(b"nothing of the kind")
    assert kept_bank(tmp_path / "broken.pt") is None
    state = load_checkpoint(mixed_run / "checkpoint.pt")
    seen = next(key for key in state["augmentation"] if key.endswith("bank.seen"))
    state["augmentation"][seen] = torch.zeros_like(state["augmentation"][seen])
    save_checkpoint(tmp_path / "unseen.pt", state)
    assert kept_bank(tmp_path / "unseen.pt") is None
    save_checkpoint(tmp_path / "none.pt", {"augmentation": 3})
    assert kept_bank(tmp_path / "none.pt") is None


def test_a_run_that_does_not_say_what_it_held_out(tmp_path):
    assert shares_of(tmp_path) is None
