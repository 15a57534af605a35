"""How long the training loop stands still for a checkpoint that is stored in the background.

The trainer's loop, saver and storage, with a real MinIO on the same machine. Every other interval
stores a checkpoint; what the loop waits in its services there, beyond what it waits in the
intervals without, is the stall.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from tests.bench import ranks
from tests.bench.report import Section
from tests.bench.resident import begin_peak, peak
from tests.bench.stores import a_store
from tests.bench.workloads import workload

NETWORK = "wide"
EVERY = 10
"""Iterations of an interval here; a run's own default is :data:`DEFAULT`."""
DEFAULT = 500
WORLDS = (1, 2)


def section(device: str, rounds: int) -> Section:
    """Measure on one process and on two."""
    with a_store() as server:
        rows = [
            _row(world, ranks.run("stall", device, world, endpoint=server.endpoint, rounds=rounds))
            for world in WORLDS
        ]
    return Section(
        "Training while a checkpoint is stored",
        f"{workload(NETWORK, device, 1).describe()}: the loop with a checkpoint in every other "
        f"interval of {EVERY} iterations. Stalled is what the loop waits for a checkpoint: for its "
        "snapshot, and where ranks meet to commit it.",
        (
            "ranks",
            "state of a rank",
            "stalled, share of such an interval",
            f"of one of {DEFAULT} (computed)",
            "peak extra memory / state",
        ),
        rows,
        (
            "A snapshot is one copy of the state; the upload's buffers come on top. Uploads take "
            "CPU time from training only where both share the cores, as here.",
        ),
    )


def _row(world: int, found: dict[str, Any]) -> list[str]:
    kept, calm = found["kept"], found["calm"]
    stalled = median(each["waited"] for each in kept) - median(each["waited"] for each in calm)
    iteration = median(each["seconds"] for each in calm) / EVERY
    shares = [stalled / (iteration * every) for every in (EVERY, DEFAULT)]
    extra = max(each["peak"] for each in kept) - max(each["peak"] for each in calm)
    return [
        str(world),
        f"{found['state'] / 2**20:.0f} MiB",
        *(f"{100 * share:.2f} %" for share in shares),
        f"{extra / found['state']:.2f}",
    ]


def on_rank(device: str, endpoint: str, rounds: int) -> dict[str, Any]:
    """Readings of intervals with and without a checkpoint, after a first pair."""
    from sid_trainer.engine.distributed import leave  # noqa: PLC0415 - the parent needs no DeepSpeed
    from tests.bench.world import Training  # noqa: PLC0415

    torch.set_num_threads(1)
    work = workload(NETWORK, device, int(os.environ["WORLD_SIZE"]))
    with tempfile.TemporaryDirectory() as folder:
        training = Training(work, work.shape.write_weights(Path(folder), work.dtype, device))
    intervals = Intervals(keeper(training, endpoint))
    training.run(2 * EVERY * (rounds + 1), lambda _: None, intervals, EVERY)
    state = sum(t.nbytes for t in training.networks.capture().tensors.values())
    leave()
    kept, calm = intervals.found[2::2], intervals.found[3::2]
    return {"state": state, "kept": kept, "calm": calm}


def keeper(training: Any, endpoint: str) -> Any:
    """The run's own keeper of checkpoints, with nobody to tell."""
    from sid_trainer.checkpoint.background import BackgroundSaver  # noqa: PLC0415
    from sid_trainer.checkpoint.pruning import Pruner  # noqa: PLC0415
    from sid_trainer.checkpoint.state import RankState  # noqa: PLC0415
    from sid_trainer.checkpoint.store import CheckpointStore  # noqa: PLC0415
    from sid_trainer.process.group import TorchGroup  # noqa: PLC0415
    from sid_trainer.storage import open_storage  # noqa: PLC0415
    from sid_trainer.telling.reporter import Reporter  # noqa: PLC0415
    from sid_trainer.training.keeping import Keeper  # noqa: PLC0415
    from tests.minio_server import BUCKET  # noqa: PLC0415

    group = TorchGroup()
    storage = open_storage(f"s3://{BUCKET}/stall-{group.world_size}", endpoint)
    store = CheckpointStore(storage, group, {}, Pruner(storage, 1, keep_last=1))

    def snapshot(iteration: int) -> RankState:
        state = training.networks.capture()
        return RankState(state.tensors, state.meta | {"iteration": iteration})

    return Keeper(BackgroundSaver(store, group, 0), group, snapshot, Reporter(), None)


class Intervals:
    """The loop's services: a checkpoint at the start of every other interval, and a clock.

    Attributes:
        found: each interval's wall seconds, those waited in services, and peak memory in bytes.
    """

    def __init__(self, keeper: Any) -> None:
        self._keeper = keeper
        self._waited, self._since = 0.0, time.perf_counter()
        self.found: list[dict[str, float]] = []

    def meet(self, iteration: int) -> None:
        """Commit what is stored."""
        self._wait(self._keeper.meet, iteration)

    def checkpoint(self, iteration: int) -> None:
        """End an interval and begin the next."""
        now = time.perf_counter()
        self.found.append({"seconds": now - self._since, "waited": self._waited, "peak": peak()})
        self._since, self._waited = now, 0.0
        begin_peak()
        if len(self.found) % 2 == 0:
            self._wait(self._keeper.checkpoint, iteration)

    def keep(self, iteration: int) -> None:
        """Let the last upload end."""
        self.checkpoint(iteration)

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Nobody is told."""

    def _nothing(self, iteration: int) -> None:
        """None are made."""

    samples = metrics = _nothing

    def _wait(self, work: Callable[[int], None], iteration: int) -> None:
        since = time.perf_counter()
        work(iteration)
        self._waited += time.perf_counter() - since
