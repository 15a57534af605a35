"""Share of an iteration that is spent outside the networks.

Inside are forwards, backward passes and optimizer steps; outside is the rest of the trainer's
loop: prompts, noise, losses, the average, metrics.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tests.bench import ranks
from tests.bench.clocks import clocks
from tests.bench.report import Section, Spread
from tests.bench.workloads import WORKLOADS, workload

WARM_UP = 3


def section(device: str, rounds: int) -> Section:
    """Measure every workload of a device."""
    rows = []
    for name, offered in WORKLOADS[device].items():
        shares = Spread(ranks.run("outside", device, name=name, rounds=rounds))
        low, median, high = (f"{100 * share:.1f} %" for share in shares.quartiles)
        rows.append((name, offered.describe(), f"{median} ({low} to {high})"))
    return Section(
        "Outside the networks",
        "Share of the training loop's time outside of the networks' forwards, backward passes and "
        "optimizer steps: prompts, noise, losses, moving average, metrics. Goal: under 5 %.",
        ("network", "size", "share of an iteration"),
        rows,
    )


def on_rank(device: str, name: str, rounds: int) -> list[float]:
    """Shares of each iteration."""
    from sid_trainer.engine.distributed import leave  # noqa: PLC0415 - the parent needs no DeepSpeed
    from tests.bench.world import Training  # noqa: PLC0415

    torch.set_num_threads(1)
    work = workload(name, device, int(os.environ["WORLD_SIZE"]))
    inside = Inside()
    with tempfile.TemporaryDirectory() as folder:
        directory = work.shape.write_weights(Path(folder), work.dtype, device)
        training = Training(work, directory, inside.watched)
    marks = [(clocks()[1], inside.seconds)]
    training.run(WARM_UP + rounds, lambda _: marks.append((clocks()[1], inside.seconds)))
    leave()
    pairs = list(zip(marks[WARM_UP:], marks[WARM_UP + 1 :], strict=False))
    return [1 - (b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs]


class Inside:
    """A stop-watch of CPU seconds that runs while networks do.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def watched(self, networks: Any) -> Any:
        """The same networks, timed."""
        parts = {part: Timed(getattr(networks, part), self) for part in ("teacher", "fake")}
        return Timed(networks, self, **parts, student=Timed(networks.student, self))

    def timed(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work`` with the stop-watch running."""

        def run(*arguments: Any, **options: Any) -> Any:
            since = clocks()[1]
            try:
                return work(*arguments, **options)
            finally:
                self.seconds += clocks()[1] - since

        return run


class Timed:
    """Networks, or one of them, whose work is timed; all else is passed through."""

    def __init__(self, network: Any, watch: Inside, **parts: Any) -> None:
        self._network = network
        self._watch = watch
        self.__dict__ |= parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    @property
    def training(self) -> Any:
        return self._watch.timed(self._network.training)

    @contextmanager
    def frozen(self) -> Iterator[Any]:
        with self._network.frozen() as network:
            yield self._watch.timed(network)

    def accumulate(self, loss: Any) -> None:
        self._watch.timed(self._network.accumulate)(loss)
