"""Small matrices: each part of the work on one core, and torch's own threads as they were afterwards."""

import pytest
import torch

from backmix.fit.threads import in_threads, one_thread


def test_results_come_in_order_and_each_part_has_one_thread():
    torch.set_num_threads(2)
    try:
        found = in_threads(lambda number: (number**2, torch.get_num_threads()), range(50))
        assert found == [(number**2, 1) for number in range(50)] and torch.get_num_threads() == 2
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_an_error_of_a_part_is_raised_and_threads_are_as_before():
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            in_threads(lambda number: 1 // number, [1, 0, 2])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
