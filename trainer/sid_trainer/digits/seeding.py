"""Repeatable numbers: a seeded global generator, and one thread, for a limited stretch of code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global CPU generator and compute on one thread; both are as before afterwards.

    Sums over several threads round differently from run to run, and networks this small gain
    nothing from a second one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
