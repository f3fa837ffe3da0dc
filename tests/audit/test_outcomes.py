"""Records of a journal as columns."""

import numpy as np
import torch

from backmix.audit.journal import RECORD
from backmix.audit.outcomes import read_outcomes


def test_records_come_to_their_place():
    first, second = np.zeros(2, dtype=RECORD), np.zeros(2, dtype=RECORD)
    first["item"], first["set"], first["answer"] = [2, 0], [0, 1], [1, 2]
    second["item"], second["set"], second["answer"], second["truth"] = [0, 1], [0, 0], [0, 2], [0.25, np.nan]
    first["score"] = [5, 6]
    columns = read_outcomes([first, second], ["a", "b", "c"], torch.tensor([7, 3, -1]), 4)
    assert columns["a"].output.tolist() == [0, 2, 1, -1] and columns["a"].answer.tolist() == [7, -1, 3, -1]
    assert columns["a"].present.tolist() == [True, True, True, False]
    assert columns["b"].output.tolist() == [2, -1, -1, -1] and columns["b"].score[0] == 6
    assert columns["a"].truth[0] == 0.25 and columns["a"].truth[1].isnan() and columns["a"].truth[3].isnan()
    assert not columns["c"].present.any() and columns["c"].score.isnan().all()


def test_another_output_without_a_class_is_another_answer():
    records = np.zeros(6, dtype=RECORD)
    records["item"], records["set"] = [0, 1, 2] * 2, [0] * 3 + [1] * 3
    records["answer"] = [0, 2, 2, 1, 2, 3]
    columns = read_outcomes([records], ["a", "b"], torch.tensor([0, 0, -1, -1]), 3)
    # Two outputs of one class are one answer; two of none are two.
    assert columns["a"].changed(columns["b"]).tolist() == [False, False, True]
