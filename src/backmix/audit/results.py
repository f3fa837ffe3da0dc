"""Compute the results of an audit, in the form of audit.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from backmix.audit.class_map import Names, some
from backmix.audit.counterfactuals import SETS
from backmix.audit.donors import MIXED
from backmix.audit.figures import DIFFERENCES, Figures, known_figures
from backmix.audit.gather import Gathered
from backmix.audit.items import Items, Role
from backmix.audit.leaning import Leaning, leanings
from backmix.audit.mask_quality import MaskQuality, mask_quality
from backmix.audit.masks import Masks
from backmix.audit.open_set import open_set_figures, weighted_auroc
from backmix.audit.outcomes import background_scores, decided_by_background
from backmix.audit.run import ON_KNOWN, ON_UNKNOWN, Audit
from backmix.data.seeds import seed_of
from backmix.metrics.bootstrap import Interval
from backmix.mixing.default_dtype import in_float32

NAMED = 20
"""The largest number of images that are named for each fault."""


@in_float32
def audit_results(
    audit: Audit, gathered: Gathered, masks: Masks, score: str | None, *, seed: int = 0
) -> dict[str, Any]:
    """Return the figures of an audit.

    The result holds `accuracy` by set, with `accuracy_intervals` and `images`; `background_gap`, `pasting_cost`,
    `flips`, `flips_same_class`, `flips_by_pasting` and `from_background`, each with `value`, `low` and `high`;
    `entropy` on originals and on pure backgrounds; `classes` by name, with the same figures and the backgrounds that
    they lean on; `scenes`; `open_set`; `background_decides`, the ranked images; `masks` with their faults; and `notes`.
    Where masks are estimated, `masks.quality` and `masks` of each class say how far they can be trusted.
    A figure that cannot be given is None.

    Args:
        audit: The result of the audit run.
        gathered: The images and classes of the audit.
        masks: The masks of the objects.
        score: The name of the unknown score of the model. If None, the model has none, and the negative largest logit
            is used instead.
        seed: The seed of the resamples.
    """
    items, columns = gathered.items, audit.columns
    known = (items.parts == Role.known) & audit.states.readable()
    generator = torch.Generator().manual_seed(seed_of(seed, "audit", "figures"))
    figures = known_figures(columns, items.labels, known, generator)
    result: dict[str, Any] = {
        "images": figures.images,
        "accuracy": {name: _value(figures.overall[name]) for name in SETS},
        "accuracy_intervals": {name: _interval(figures.overall[name]) for name in SETS},
        **{name: _interval(figures.overall[name]) for name in DIFFERENCES},
    }
    if result["from_background"] is not None:
        result["from_background"]["chance"] = figures.chance
    result["entropy"] = {
        "original": _interval(figures.overall["entropy_of_originals"]),
        "only-background": _interval(figures.overall["entropy_of_backgrounds"]),
    }
    result["classes"] = _classes(audit, items, figures, known)
    result["scenes"] = _scenes(audit, items)
    result["open_set"] = _open_set(audit, items, score, seed)
    result["background_decides"] = _decided(audit, gathered, known)
    result["masks"] = {"source": masks.name, "estimated": masks.estimated, "faults": _faults(audit, items)}
    if masks.estimated:
        known_items = items.parts == Role.known
        result["masks"]["quality"] = asdict(quality_of(audit, items, known_items))
        for number, name in enumerate(items.classes(Role.known)):
            if name in result["classes"]:
                of_class = quality_of(audit, items, known_items & (items.labels == number))
                result["classes"][name]["masks"] = {**asdict(of_class), "good": of_class.good, "why": of_class.why}
    result["notes"] = [*gathered.notes, *_notes(audit, items, masks, figures)]
    return result


def quality_of(audit: Audit, items: Items, among: Tensor) -> MaskQuality:
    """Return the quality of the masks of some images, (N,) bool."""
    whole, alone = audit.columns["original"], audit.columns["only-foreground"]
    right, right_alone = (of.present & (of.answer == items.labels) for of in (whole, alone))
    return mask_quality(among & audit.states.readable(), audit.states.shares, right, right_alone)


def answer_name(output: int, answer: int, classes: Sequence[str], names: Names) -> str:
    """Return the answer of a model: a class of the data, or the name that the model has for anything else."""
    return classes[answer] if answer >= 0 else names[output][0]


def _classes(audit: Audit, items: Items, figures: Figures, known: Tensor) -> dict[str, Any]:
    names = items.classes(Role.known)
    mixed, donors = audit.columns["mixed-random"], audit.donors["mixed-random"]
    rows = (mixed.present & known).nonzero()[:, 0]
    backgrounds = items.labels[donors[rows]]
    by_class = leanings(mixed.answer[rows], backgrounds, items.labels[rows], names, "class", len(names))
    by_scene: list[Leaning | None] = [None] * len(names)
    scene = ((items.parts == Role.scene) & audit.columns["original"].present).nonzero()[:, 0]
    if len(scene):
        answers, none = audit.columns["original"].answer[scene], torch.full((len(scene),), -1)
        by_scene = leanings(answers, items.labels[scene], none, items.classes(Role.scene), "scene", len(names))
    found = {}
    for number, of in figures.of_class.items():
        on_class, on_scene = by_class[number], by_scene[number]
        leans_on = on_scene or on_class
        found[names[number]] = {
            "images": int((known & (items.labels == number)).sum()),
            "accuracy": {name: _value(of[name]) for name in SETS},
            **{name: _interval(of[name]) for name in DIFFERENCES},
            "leans_on": leans_on and asdict(leans_on),
            "leans_on_class": on_class and asdict(on_class),
            "leans_on_scene": on_scene and asdict(on_scene),
        }
    return found


def _scenes(audit: Audit, items: Items) -> dict[str, Any]:
    column, names = audit.columns["original"], items.classes(Role.known)
    found = {}
    for number, scene in enumerate(items.classes(Role.scene)):
        rows = (items.parts == Role.scene) & (items.labels == number) & column.present
        if not rows.any():
            continue
        answers = column.answer[rows]
        counts = torch.bincount(answers[answers >= 0], minlength=len(names))
        order = counts.argsort(descending=True, stable=True)[:3].tolist()
        found[scene] = {
            "images": int(rows.sum()),
            "entropy": float(column.entropy[rows].double().mean()),
            "answers": {names[k]: int(counts[k]) / int(rows.sum()) for k in order if counts[k]},
        }
    return found


def _open_set(audit: Audit, items: Items, score: str | None, seed: int) -> dict[str, Any] | None:
    known, unknown = items.parts == Role.known, items.parts == Role.unknown
    if not unknown.any():
        return None
    columns = audit.columns
    scores = {
        "Kk": columns["mixed-same"].score[known],
        "Kq": columns[ON_UNKNOWN].score[known],
        "Qk": columns[ON_KNOWN].score[unknown],
        "Qq": columns[ON_UNKNOWN].score[unknown],
    }
    strata = {"K": items.labels[known], "Q": items.labels[unknown]}
    generator = torch.Generator().manual_seed(seed_of(seed, "audit", "open set"))
    figures = open_set_figures(scores, strata, generator)
    plain = [columns["original"].score[part & columns["original"].present] for part in (known, unknown)]
    both = all(len(of) for of in plain)
    ones = [torch.ones(1, len(of), dtype=torch.float64) for of in plain]
    figures["auroc_of_originals"] = float(weighted_auroc(*plain, *ones)[0]) if both else None
    return {"score": score or "largest logit", **figures}


def _decided(audit: Audit, gathered: Gathered, known: Tensor) -> list[dict[str, Any]]:
    items, columns = gathered.items, audit.columns
    classes = items.classes(Role.known)
    scores = background_scores(columns)
    shown = ("original", "repasted", "only-background", *MIXED)
    found = []
    for item in decided_by_background(columns, items.labels, known):
        answers, donors = {}, {}
        for name in shown:
            column = columns[name]
            if column.present[item]:
                answers[name] = answer_name(int(column.output[item]), int(column.answer[item]), classes, gathered.names)
            if name in MIXED and (donor := int(audit.donors[name][item])) >= 0:
                donors[name] = {"item": donor, "image": items.name(donor), "class": items.class_of(donor)}
        found.append(
            {
                "item": item,
                "image": items.name(item),
                "class": items.class_of(item),
                "score": float(scores[item]),
                "answers": answers,
                "donors": donors,
            }
        )
    return found


def _faults(audit: Audit, items: Items) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item, fault in audit.states.faults.items():
        entry = found.setdefault(str(fault), {"images": 0, "names": []})
        entry["images"] += 1
        if len(entry["names"]) < NAMED:
            reason = audit.states.reasons.get(item)
            entry["names"].append(items.name(item) + (f": {reason}" if reason else ""))
    return found


def _notes(audit: Audit, items: Items, masks: Masks, figures: Figures) -> list[str]:
    notes = []
    counts: dict[str, int] = {}
    for fault in audit.states.faults.values():
        counts[str(fault)] = counts.get(str(fault), 0) + 1
    for what, count in counts.items():
        where = "every set" if what == "unreadable image" else "every set but the originals"
        notes.append(f"{count} image{'' if count == 1 else 's'} left out of {where}: {what}.")
    known = (items.parts == Role.known) & audit.states.usable()
    names = items.classes(Role.known)
    single = [names[number] for number in range(len(names)) if int((known & (items.labels == number)).sum()) == 1]
    if single:
        notes.append(
            f"Classes with a single image that can be taken apart have no other background of their own, and are left "
            f"out of the mixed sets: {some(single)}."
        )
    if masks.estimated:
        notes.append(
            f"The masks are estimated ({masks.name}). Where they miss a part of an object, that part counts as "
            f"background; where they take in background, that counts as the object. Figures from true masks differ."
        )
    if figures.overall["background_gap"] is None:
        notes.append("No image could be given another background: there is no background gap.")
    return notes


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else asdict(interval)
