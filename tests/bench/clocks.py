"""Clocks that wait for the device."""

from __future__ import annotations

import time

import torch


def clocks() -> tuple[float, float]:
    """Wall seconds, and busy seconds: CPU seconds of this process, or wall where a GPU works."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        now = time.perf_counter()
        return now, now
    return time.perf_counter(), time.process_time()
