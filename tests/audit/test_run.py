"""The audit: what is shown, bounded, and the same bits whether or not it was cut off."""

import pytest
import torch
from audit_pictures import Made

from backmix.audit.counterfactuals import SETS, counterfactuals
from backmix.audit.gather import gather
from backmix.audit.journal import FILE
from backmix.audit.masks import Fault, GivenMasks
from backmix.audit.models.base import ModelOptions
from backmix.audit.models.load import load_model
from backmix.audit.run import ALL_SETS, ON_KNOWN, ON_UNKNOWN, AuditRun
from backmix.errors import DataError


class Counting:
    """A model that counts what it is shown, and stops after some calls."""

    def __init__(self, model, stop_after=None):
        self._model, self.shown, self.calls, self.stop_after = model, 0, 0, stop_after

    def __getattr__(self, name):
        return getattr(self._model, name)

    def answers(self, images):
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        self.calls += 1
        self.shown += len(images)
        return self._model.answers(images)


def rim():
    return load_model("audit_looking:rim")


def gathered(source, **options):
    names = options.pop("names", [["cat"], ["dog"], ["owl"]])
    return gather(source, GivenMasks("true", source.read_mask), names, len(names), **options)


def audit(folder, model, found, *, resume=False, batch_size=8, seed=0, workers=2):
    to_data = found.matching.to_data
    how = {"batch_size": batch_size, "seed": seed, "workers": workers, "resume": resume}
    with AuditRun(model, found.items, to_data, folder, {"seed": seed, "batch": batch_size}, **how) as run:
        return run.answer()


def same(first, second):
    for name in ALL_SETS:
        for of in ("output", "answer", "truth", "entropy", "score"):
            one, other = getattr(first.columns[name], of), getattr(second.columns[name], of)
            assert torch.equal(one.nan_to_num(-9), other.nan_to_num(-9)), (name, of)
    assert all(torch.equal(first.donors[name], second.donors[name]) for name in first.donors)


@pytest.fixture(scope="module")
def made():
    return Made(7, rate=0.8)


def test_the_model_is_shown_every_set(tmp_path, made):
    found, model = gathered(made), rim()
    result = audit(tmp_path, model, found)
    images = torch.stack([model.frame.pixels(made.read(i)) for i in range(len(made))])
    masks = torch.stack([model.frame.mask(made.read_mask(i)) for i in range(len(made))])
    plain = counterfactuals(images, masks, made.labels, torch.Generator().manual_seed(0))
    for name in SETS:
        column = result.columns[name]
        assert bool(column.present.all())
        shown = plain[name].images
        if name in result.donors:  # Other donors than the batch draws: what they show is made again.
            own = plain["only-background"].images[result.donors[name]]
            shown = torch.where(masks[:, None], images, own)
        logits = model.answers(shown).logits
        agree = (logits.argmax(1) == column.output).float().mean()
        assert agree == 1 if name not in result.donors else agree > 0.95
        if name not in result.donors:
            shares = logits.softmax(1)
            assert torch.allclose(column.truth, shares[torch.arange(21), made.labels], atol=1e-6)
            entropy = -(shares * shares.log()).sum(1) / torch.log(torch.tensor(3.0))
            assert torch.allclose(column.entropy, entropy, atol=1e-5)
            assert torch.allclose(column.score, -logits.max(1).values, atol=1e-5)
    assert not result.columns[ON_KNOWN].present.any() and not result.columns[ON_UNKNOWN].present.any()


@pytest.mark.parametrize("calls", [0, 3, 9, 18])
def test_cut_off_and_gone_on_with_is_the_same_to_the_bit(tmp_path, made, calls):
    found = gathered(made)
    whole = audit(tmp_path / "whole", rim(), found)
    with pytest.raises(KeyboardInterrupt):
        audit(tmp_path / "cut", Counting(rim(), stop_after=calls), found)
    again = Counting(rim())
    resumed = audit(tmp_path / "cut", again, found, resume=True)
    same(whole, resumed)
    assert again.calls == 21 - calls // 7 * 7  # Three chunks of seven sets; those that were whole are not shown again.
    assert (tmp_path / "cut" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()


def test_the_seed_decides_and_workers_do_not(tmp_path, made):
    found = gathered(made)
    first = audit(tmp_path / "a", rim(), found, workers=1)
    same(first, audit(tmp_path / "b", rim(), found, workers=3))
    other = audit(tmp_path / "c", rim(), found, seed=1)
    assert not torch.equal(first.donors["mixed-random"], other.donors["mixed-random"])
    assert torch.equal(first.columns["repasted"].truth, other.columns["repasted"].truth)


def test_unknown_objects_and_scenes_are_shown_in_their_sets(tmp_path, made):
    scenes = Made(2, seed=5)
    found = gathered(made, names=[["cat"], ["dog"]], open_set=True, scenes=scenes)
    result = audit(tmp_path, load_model("audit_looking:middle_two"), found)
    parts = found.items.parts
    known, unknown, scene = (parts == part for part in range(3))
    assert torch.equal(result.columns["original"].present, torch.ones(len(parts), dtype=torch.bool))
    assert torch.equal(result.columns["mixed-same"].present, known)
    assert torch.equal(result.columns[ON_KNOWN].present, unknown)
    assert torch.equal(result.columns[ON_UNKNOWN].present, known | unknown)
    assert bool((parts[result.donors[ON_KNOWN][unknown]] == 0).all())
    assert bool((parts[result.donors[ON_UNKNOWN][known | unknown]] == 1).all())
    assert bool(result.columns["original"].truth[scene].isnan().all())
    assert not result.columns["only-background"].present[scene].any()


def test_what_was_shown_can_be_shown_again(tmp_path, made):
    found = gathered(made)
    with AuditRun(rim(), found.items, found.matching.to_data, tmp_path, {}) as run:
        result = run.answer()
        for item in (0, 20):
            for name, image in run.show(item, result).items():
                column = result.columns[name]
                assert int(rim().answers(image[None]).logits.argmax()) == column.output[item], name
        assert set(run.show(3, result)) == set(SETS)


def test_images_at_fault_are_in_no_set_but_their_own(tmp_path):
    class Faulty(Made):
        def read_mask(self, i):
            return None if i == 0 else super().read_mask(i)

    source = Faulty({"cat": 4, "dog": 3, "owl": 1})
    found = gathered(source)
    result = audit(tmp_path, rim(), found)
    assert result.states.faults == {0: Fault.missing}
    for name in ALL_SETS:
        assert bool(result.columns[name].present[0]) == (name == "original")
        assert 0 not in result.donors.get(name, torch.tensor([1])).tolist()
    # The only owl gives its background and takes none, in any mixed set.
    assert [bool(result.columns[name].present[7]) for name in SETS] == [True] * 4 + [False] * 3
    assert 7 in result.donors["mixed-next"].tolist()


def test_another_audit_in_the_folder_is_refused(tmp_path, made):
    found = gathered(made)
    audit(tmp_path, rim(), found)
    with pytest.raises(DataError, match="holds an audit already"):
        audit(tmp_path, rim(), found)
    with pytest.raises(DataError, match="other settings: seed was 0, is 1"):
        audit(tmp_path, rim(), found, seed=1, resume=True)


@pytest.mark.parametrize("name", ["broken", "not_a_number"])
def test_a_model_of_no_use_ends_the_audit(tmp_path, made, name):
    with pytest.raises(DataError):
        audit(tmp_path, load_model(f"audit_looking:{name}", ModelOptions(image_size=32)), gathered(made))
