"""Cells of a study made by hand, for tests of what is said of them."""

from backmix.study.plan import cells_of
from backmix.study.summary import summarise

PRIORS = [0.25, 0.8, 0.95]


def made_cell(cell, *, auroc=0.7, accuracy=0.9, gap=0.4, estimated=None, entropy=0.3, outside=1.0):
    interval = {"value": gap, "low": gap - 0.05, "high": gap + 0.05}
    audit = {
        "accuracy": {"original": accuracy, "only-background": gap, "mixed-same": 0.8, "mixed-random": 0.8 - gap},
        "background_gap": interval,
        "entropy": {"original": None, "only-background": {"value": entropy, "low": 0.0, "high": 1.0}},
    }
    found = {
        **cell.key(),
        "accuracy": accuracy,
        "accuracy_independent": accuracy - gap / 2,
        "auroc": {"max_logit": {"Kk-Qk": auroc, "Kk-Qq": auroc + 0.1, "Kq-Qk": auroc - 0.1}},
        "misleading_index": {"max_logit": 0.1},
        "spread": {"inside": 2.0, "outside": outside},
        "audit": audit,
        "seconds": 1.0,
    }
    if cell.estimated:
        value = gap + 0.02 if estimated is None else estimated
        found["audit_estimated"] = {
            **audit,
            "background_gap": {"value": value, "low": value - 0.1, "high": value + 0.1},
        }
    return found


def made_study(how=None, *, priors=PRIORS, parts="abcd", seeds=(0, 1, 2)):
    """A study whose cells are as `how(cell)` says, options of `made_cell`."""
    cells = cells_of(priors, list(parts), seeds)
    return {
        "backmix": "0",
        "setting": {
            "setting": "digits",
            "data": {"data": "digits", "known": ["0", "1"]},
            "model": "compact-s",
            "image_size": 32,
            "priors": priors,
            "parts": list(parts),
            "training": {"epochs": 1, "milestones": [0.5, 0.9]},
        },
        "missing": 0,
        "cells": [made_cell(cell, **(how(cell) if how else {})) for cell in cells],
    }


def made_parts(study):
    """What each part says of a study, by its key."""
    return {part.key: part for part in summarise(study)}
