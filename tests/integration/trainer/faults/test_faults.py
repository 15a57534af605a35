"""A run that loses ranks, pods, connections and its store ends as if nothing had happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.trainer.faults.disturbed import Result, Shape, run_disturbed, table
from tests.integration.trainer.faults.judge import differences
from tests.integration.trainer.faults.pods import Starter, launcher
from tests.integration.trainer.faults.schedule import Kind, Schedule
from tests.minio_server import MinioServer

Calm = Callable[[int, int], Result]
CAMPAIGN_SEEDS = range(1, 6)
WITH_LAUNCHER = {1}
"""Seeds of runs on two pods with launcher and torchrun; the others are one pod of forked ranks."""
CAMPAIGN_FAULTS = 200
CAMPAIGN_KILLS = {
    Kind.KILL_RANK: 1,
    Kind.KILL_POD: 1,
    Kind.EVICT_POD: 1,
    Kind.KILL_STORE: 2,
}


def test_a_disturbed_run_ends_like_the_undisturbed_one(
    calm: Calm,
    forked: Starter,
    own_minio: MinioServer,
    teacher: Path,
    tmp_path: Path,
    prefix: str,
) -> None:
    schedule = Schedule(1, rate=0.2, kills={Kind.KILL_RANK: 1}, requests=(30, 60), longest=1.0)
    expected = calm(6, 1)
    shape = Shape(teacher, 6, 1)
    result = run_disturbed(shape, own_minio, tmp_path, prefix, schedule, forked)
    print(f"\n{told(result)}\n{table(result.faults)}")
    hold(result, expected)
    assert result.faults[Kind.KILL_RANK] == 1
    assert result.faults.total() >= 20
    assert result.looks > 0


@pytest.mark.campaign
@pytest.mark.parametrize("seed", CAMPAIGN_SEEDS)
def test_campaign(
    seed: int,
    calm: Calm,
    forked: Starter,
    tally: Counter[Kind],
    own_minio: MinioServer,
    teacher: Path,
    tmp_path: Path,
) -> None:
    nodes = 2 if seed in WITH_LAUNCHER else 1
    shape = Shape(teacher, 12, 1, nodes)
    starter = launcher(own_minio.environ) if seed in WITH_LAUNCHER else forked
    schedule = Schedule(seed, rate=0.2, kills=CAMPAIGN_KILLS, requests=(20, 240))
    expected = calm(12, 1)
    result = run_disturbed(shape, own_minio, tmp_path, f"campaign-{seed}", schedule, starter)
    print(f"\nseed {seed}: {told(result)}", flush=True)
    tally.update(result.faults)
    hold(result, expected)
    assert result.faults.total() >= CAMPAIGN_FAULTS / len(CAMPAIGN_SEEDS)


def hold(result: Result, expected: Result) -> None:
    """Fail with all that is wrong."""
    problems = result.problems + differences(result.outcome, expected.outcome)
    assert not problems, "\n".join(problems)


def told(result: Result) -> str:
    """A line on a run."""
    return (
        f"{result.faults.total()} faults in {result.requests} requests, {result.starts} pods "
        f"started, ended with {result.codes}, {result.looks} looks, {result.seconds:.0f} s"
    )
