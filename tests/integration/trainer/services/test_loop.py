"""What the loop does in which order, and what of it outlasts a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.engine.iteration import IterationResult
from sid_trainer.process.group import SharedError, SoloGroup
from sid_trainer.storage import FileStorage
from sid_trainer.training.keeping import Keeper
from sid_trainer.training.loop import Schedule, run_loop

from .test_background import saver, stored
from .test_checkpoints import state
from .test_keeping import Told

DISTILLER: Any = SimpleNamespace(
    networks=SimpleNamespace(
        tell_skipped=lambda iteration: None, skipped_updates=0, skipped_in_a_row=0
    ),
    iterate=lambda iteration, batch: IterationResult({"generatorLoss": torch.tensor(1.0)}),
)


@pytest.fixture(autouse=True, scope="module")
def group() -> Iterator[None]:
    """Metrics are means over ranks."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Calls:
    """Services that note what they are asked for."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Not noted."""

    def meet(self, iteration: int) -> None:
        """Not noted."""

    def samples(self, iteration: int) -> None:
        self.made.append(f"samples {iteration}")

    def checkpoint(self, iteration: int) -> None:
        self.made.append(f"checkpoint {iteration}")

    def secure(self, iteration: int) -> None:
        self.made.append(f"secure {iteration}")

    def keep(self, iteration: int) -> None:
        self.made.append(f"keep {iteration}")

    def metrics(self, iteration: int) -> None:
        self.made.append(f"metrics {iteration}")


def run(services: Any, schedule: Schedule, batch: Callable[[int], Any] = range) -> None:
    batches: Any = SimpleNamespace(of=batch)
    run_loop(DISTILLER, batches, schedule, services, 0)


def test_the_checkpoint_comes_before_what_may_fail() -> None:
    calls = Calls()
    run(calls, Schedule(total=6, samples_every=2, checkpoint_every=2, metrics_every=3))
    assert calls.made == [
        *("checkpoint 2", "samples 2", "secure 3", "metrics 3"),
        *("checkpoint 4", "samples 4", "keep 6", "samples 6"),
    ]


def test_a_measurement_is_due_on_the_way_only() -> None:
    schedule = Schedule(total=6, samples_every=2, checkpoint_every=2, metrics_every=3)
    assert [at for at in range(8) if schedule.metrics_due(at)] == [3]
    assert [at for at in range(8) if schedule.samples_due(at)] == [0, 2, 4, 6, 7]


class Measured(Calls):
    """Services of a run with real checkpoints whose measurement fails."""

    def __init__(self, storage: FileStorage) -> None:
        super().__init__()
        self._storage, self.seen = storage, list[str]()
        self._keeper = Keeper(
            saver(storage, SoloGroup()), SoloGroup(), lambda at: state(0, 1, at), Told(), None
        )
        self.checkpoint = self._keeper.checkpoint  # type: ignore[method-assign]
        self.secure = self._keeper.secure  # type: ignore[method-assign]
        self.meet = self._keeper.meet  # type: ignore[method-assign]

    def metrics(self, iteration: int) -> None:
        self.seen = stored(self._storage)
        raise RuntimeError("out of memory")


def test_a_checkpoint_outlasts_the_measurement_that_follows_it(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    services = Measured(storage)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(services, Schedule(total=9, samples_every=99, checkpoint_every=2, metrics_every=4))
    assert services.seen[-1] == "checkpoints/iter-00000004/manifest.json"
    assert stored(storage) == services.seen


def failing(reason: FailureReason) -> Callable[[int], Any]:
    def batch(iteration: int) -> None:
        if iteration == 3:
            raise SharedError(reason, "no images")

    return batch


@pytest.mark.parametrize("reason", [FailureReason.INVALID_DATA, FailureReason.STORAGE_UNAVAILABLE])
def test_what_is_trained_is_kept_when_all_ranks_fail(reason: FailureReason) -> None:
    calls = Calls()
    with pytest.raises(SharedError, match="no images"):
        run(calls, Schedule(total=9, samples_every=99, checkpoint_every=99), failing(reason))
    assert calls.made == ["keep 3"]


def test_the_first_failure_is_told_where_nothing_can_be_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Away(Calls):
        def keep(self, iteration: int) -> None:
            raise TrainerError(FailureReason.STORAGE_UNAVAILABLE, "no answer")

    batch = failing(FailureReason.INVALID_DATA)
    with pytest.raises(SharedError, match="no images"):
        run(Away(), Schedule(total=9, samples_every=99, checkpoint_every=99), batch)
    assert "what was trained last is lost: no answer" in caplog.text


@pytest.mark.parametrize(("sound", "kept"), [(0, []), (3, ["keep 5"])])
def test_numbers_that_were_never_finite_are_not_kept(
    sound: int, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher with bad weights gives a bad student, which is not to be resumed."""
    networks = DISTILLER.networks

    def tell(iteration: int) -> None:
        networks.skipped_in_a_row = max(0, iteration + 1 - sound)
        if iteration == sound + 2:
            raise SharedError(FailureReason.NUMERICAL_ERROR, "not finite")

    monkeypatch.setattr(networks, "skipped_in_a_row", max(0, 1 - sound))
    monkeypatch.setattr(networks, "tell_skipped", tell)
    calls = Calls()
    with pytest.raises(SharedError, match="not finite"):
        run(calls, Schedule(total=9, samples_every=99, checkpoint_every=99))
    assert calls.made == kept
