"""Columns of answers as tests of figures need them."""

import torch

from backmix.audit.counterfactuals import SETS
from backmix.audit.outcomes import Column


def column(answers, *, truth=None, entropy=None, score=None):
    """A column from the class answered for each image, None where it is not in the set; -1: no class."""
    there = torch.tensor([answer is not None for answer in answers])
    answer = torch.tensor([-1 if a is None else a for a in answers])
    # Every class is the output of its number; what is no class is output 9.
    output = torch.where(there, torch.where(answer < 0, 9, answer), -1)

    def of(values, default):
        numbers = torch.full(answer.shape, float(default)) if values is None else torch.tensor(values)
        return torch.where(there, numbers.float(), torch.nan)

    return Column(output, answer, of(truth, 0.5), of(entropy, 0.5), of(score, 0.0))


def columns(count, **given):
    """All sets; those not given are empty."""
    found = {name: column([None] * count) for name in SETS}
    return found | {name.replace("_", "-"): of for name, of in given.items()}
