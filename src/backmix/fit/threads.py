"""Compute with small matrices: on one core each, several at a time.

The matrices of a head are so small that two cores on one of them gain nothing. On a machine that has other work, the
cores even wait for each other, and everything takes several times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from backmix.inference.engine import cores

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def one_thread() -> Iterator[None]:
    """A context in which torch computes on one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_threads(work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """Return the results of independent parts of some work, in order, each computed on one core."""
    with one_thread(), ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(work, parts))
