"""Pictures of the page: the sets that an image is in, as the model saw them, with what it said."""

import base64
import io
from functools import partial

import numpy as np
import pytest
from audit_pictures import Made
from PIL import Image

from backmix.audit.counterfactuals import SETS
from backmix.audit.gather import choose_masks, gather
from backmix.audit.models.base import ModelOptions
from backmix.audit.models.load import load_model
from backmix.audit.outcomes import decided_by_background
from backmix.audit.page_pictures import DECIDED, IN_A_ROW, MASKED, example, masked, rows
from backmix.audit.run import AuditRun


class Faulty(Made):
    """No mask for the first images."""

    def read_mask(self, i):
        return None if i < 2 else super().read_mask(i)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Audit, what was audited, the images that the background decides, and a function that shows."""
    source = Faulty(8, rate=0.8)
    model = load_model("audit_looking:rim", ModelOptions(image_size=32))
    found = gather(source, choose_masks("true", source), model.names, 3)
    with AuditRun(model, found.items, found.matching.to_data, tmp_path_factory.mktemp("run"), {}) as run:
        audit = run.answer()
        decided = decided_by_background(audit.columns, found.items.labels, found.items.parts == 0)
        yield audit, found, decided, partial(run.show, audit=audit)


def pixels(seen):
    kind, _, content = seen.address.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))), dtype=float)


def test_the_example_is_in_all_sets_and_decided(audited):
    audit, found, decided, show = audited
    shown = example(audit, found, show, decided)
    assert [seen.name for seen in shown.seen] == list(SETS)
    assert shown.image == found.items.name(decided[0])
    alone = example(audit, found, show, [])
    # The first image that has a mask, as there are none in the list.
    assert alone.image == "made[2]" and len(alone.seen) == 7


def test_rows_tell_answers_and_backgrounds(audited):
    audit, found, decided, show = audited
    made = rows(decided, audit, found, show)
    assert len(made) == min(DECIDED, len(decided)) > 2
    for item, row in zip(decided, made, strict=False):
        assert [seen.name for seen in row.seen] == list(IN_A_ROW) and row.truth == found.items.class_of(item)
        for seen in row.seen:
            assert seen.right == (seen.answer == row.truth)
            # A classifier that looks at the rim answers the background; on grey it has none.
            donor = audit.donors[seen.name][item] if seen.name in audit.donors else None
            assert seen.background == (None if donor is None else found.items.class_of(int(donor)))
        assert any(not seen.right for seen in row.seen[3:])
        assert row.seen[2].background == row.truth


def test_pictures_are_what_the_model_saw(audited):
    audit, found, decided, show = audited
    (seen,) = [seen for seen in rows(decided, audit, found, show)[0].seen if seen.name == "only-foreground"]
    picture = pixels(seen)
    assert picture.shape == (160, 160, 3)
    assert np.abs(picture[:20] - 128).max() < 12 and np.abs(picture[70:90, 70:90] - 128).max() > 40


def test_masks_are_shown_evenly(audited):
    audit, found, _, show = audited
    made = masked(audit, found, show)
    assert len(made) == MASKED and all([seen.name for seen in row.seen] == list(IN_A_ROW[:2]) for row in made)
    numbers = [int(row.image.removeprefix("made[").removesuffix("]")) for row in made]
    assert numbers == sorted(set(numbers)) and numbers[0] >= 2 and numbers[-1] > 18


def test_nothing_to_show(tmp_path):
    class Unmasked(Made):
        def read_mask(self, i):
            return Image.new("L", (40, 40))

    source = Unmasked(2)
    model = load_model("audit_looking:rim", ModelOptions(image_size=32))
    found = gather(source, choose_masks("true", source), model.names, 3)
    with AuditRun(model, found.items, found.matching.to_data, tmp_path, {}) as run:
        audit = run.answer()
        assert masked(audit, found, partial(run.show, audit=audit)) == []
        only = example(audit, found, partial(run.show, audit=audit), [])
        assert [seen.name for seen in only.seen] == ["original"]
