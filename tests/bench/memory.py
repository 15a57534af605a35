"""Memory over many iterations: it must not grow, neither between them nor at its peak."""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sid_trainer.estimate.live import LiveBytes
from tests.bench import ranks
from tests.bench.report import Section
from tests.bench.resident import resident
from tests.bench.shapes import small
from tests.bench.workloads import Workload

EVERY = 10
SETTLED = 50
"""Iterations after which allocators and caches have what they need."""
SHAPE = small("1 layer of 64, 16 tokens", width=64, layers=1, side=8, tokens=9)


def section(device: str, iterations: int) -> Section:
    """Train a tiny network for long enough to see."""
    found = ranks.run("memory", device, iterations=iterations)
    rows = [
        (what, f"{values[0] / 2**20:.1f} MiB", f"{values[-1] / 2**20:.1f} MiB", slope)
        for what, values in found.items()
        for slope in (f"{growth(values):+.2f} KiB",)
    ]
    return Section(
        "Memory over time",
        f"{SHAPE.name}, ZeRO-3, {iterations} iterations, read every {EVERY}, between two but for "
        f"the peak, which is the most in the {EVERY} before; the slope is of a line through the "
        f"readings from iteration {SETTLED} on.",
        ("what", f"at {SETTLED}", f"at {iterations}", "an iteration adds"),
        rows,
    )


def growth(values: list[float]) -> float:
    """KiB an iteration."""
    places = [EVERY * i for i in range(len(values))]
    return statistics.linear_regression(places, values).slope / 1024


def on_rank(device: str, iterations: int) -> dict[str, list[float]]:
    """Readings by what was read, from :data:`SETTLED` on."""
    from sid_trainer.engine.distributed import leave  # noqa: PLC0415 - the parent needs no DeepSpeed
    from tests.bench.world import Training  # noqa: PLC0415

    torch.set_num_threads(1)
    work = Workload(SHAPE, device, batch=2, checkpointing=True)
    with tempfile.TemporaryDirectory() as folder:
        directory = work.shape.write_weights(Path(folder), work.dtype, device)
        training = Training(work, directory)
    readings: list[dict[str, float]] = []
    with _peak(device) as most:

        def read(iteration: int) -> None:
            if iteration % EVERY == 0:
                found = reading(device) | {"peak of an iteration": float(most())}
                readings.extend([found] * (iteration >= SETTLED))

        training.run(iterations, read)
    leave()
    return {what: [r[what] for r in readings] for what in readings[0]}


def reading(device: str) -> dict[str, float]:
    """Bytes in use now, between two iterations."""
    gc.collect()
    storages: dict[int, int] = {}
    for tensor in _tensors():
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    found: dict[str, float] = {"live tensors": float(sum(storages.values()))}
    if device == "cuda":
        return found | {"allocated on the GPU": float(torch.cuda.memory_allocated())}
    return found | {"resident in memory": float(resident())}


@contextmanager
def _peak(device: str) -> Iterator[Callable[[], int]]:
    """What tells the most bytes since it was last asked.

    On a GPU these are the allocator's; elsewhere those of tensors that were made meanwhile.
    """
    if device == "cuda":

        def of_the_allocator() -> int:
            found = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            return found

        of_the_allocator()
        yield of_the_allocator
        return
    with LiveBytes().ignore(_tensors()) as live:

        def of_tensors() -> int:
            found = live.peak
            live.reset()
            return found

        yield of_tensors


def _tensors() -> Iterator[Tensor]:
    return (thing for thing in gc.get_objects() if _is_tensor(thing))


def _is_tensor(thing: Any) -> bool:
    return issubclass(type(thing), torch.Tensor) and thing.layout == torch.strided
