"""What the loop has watched: data at no pace, iterations at that of those before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import torch

from sid_trainer.training.loop import Schedule, run_loop

ITERATIONS = 3


class Recorder:
    """Distiller, batches, services and watch of a run, which note what is called."""

    skipped_updates = skipped_in_a_row = 0

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.networks = self

    @contextmanager
    def watch(self, name: str, *, paced: bool = True) -> Iterator[None]:
        self.calls.append(f"{name}, {'paced' if paced else 'not paced'}")
        yield
        self.calls.append("watched")

    def of(self, iteration: int) -> list[Any]:
        self.calls.append(f"batch {iteration}")
        return []

    def iterate(self, iteration: int, batch: list[Any]) -> SimpleNamespace:
        self.calls.append(f"iterate {iteration}")
        return SimpleNamespace(metrics={"loss": torch.zeros(())})

    def tell_skipped(self, iteration: int) -> None:
        """None is."""

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Nothing is told."""

    samples = meet = keep = secure = checkpoint = metrics = tell_skipped


def test_data_are_made_at_no_pace(monkeypatch: Any) -> None:
    monkeypatch.setattr("sid_trainer.engine.training_metrics.TrainingMetrics.read", lambda _: None)
    run = cast("Any", Recorder())
    schedule = Schedule(total=ITERATIONS, samples_every=9, checkpoint_every=9)
    run_loop(run, run, schedule, run, 0, run.watch)
    assert run.calls == [
        call
        for n in range(ITERATIONS)
        for call in (
            f"the data of iteration {n + 1}, not paced",
            f"batch {n}",
            "watched",
            f"iteration {n + 1}, paced",
            f"iterate {n}",
            "watched",
        )
    ]
