"""A rank that hangs is named, the stacks are told, and the processes end; with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sid_trainer.contract import ExitCode, Failure, FailureReason
from sid_trainer.process.run_directory import RunDirectory
from tests.loopback import free_port

SCRIPT = Path(__file__).parent / "stalling_rank.py"
BOUND = 8
DEADLINE_SECONDS = 300  # a guard against hangs; a loaded machine may be slow


@dataclass(frozen=True)
class Gang:
    """Two ranks that run."""

    folder: Path
    processes: list[subprocess.Popen[bytes]]

    def code(self, rank: int) -> int:
        return self.processes[rank].wait(DEADLINE_SECONDS)

    def log(self, rank: int) -> str:
        return (self.folder / f"{rank}.log").read_text()

    def failures(self) -> list[Failure]:
        return RunDirectory(self.folder).failures()

    def failure(self, rank: int) -> Failure:
        found = [f for f in self.failures() if f.rank == rank]
        assert found, self.log(rank)
        return found[0]

    def hangs(self) -> bool:
        """Whether it has come to where a rank hangs; no rank may have ended before."""
        if (self.folder / "hangs").exists():
            return True
        assert all(process.poll() is None for process in self.processes)
        return False


@contextmanager
def gang(
    folder: Path,
    hanging: int,
    per_node: int = 2,
    place: str = "iteration",
    bounds: tuple[int, int] = (BOUND, BOUND),
) -> Iterator[Gang]:
    """Two ranks, of which one hangs in the third iteration."""
    folder.mkdir()
    common = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": str(per_node),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "HANGING_RANK": str(hanging),
    }
    processes = []
    for rank in (0, 1):
        with (folder / f"{rank}.log").open("wb") as log:
            command = [sys.executable, str(SCRIPT), str(folder), str(bounds[rank]), place]
            environment = os.environ | common | {"RANK": str(rank)}
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            processes.append(process)
    try:
        yield Gang(folder, processes)
    finally:
        for process in processes:
            process.kill()
            process.wait(DEADLINE_SECONDS)


def test_the_pod_that_hangs_is_the_first_to_say_so_wherever_it_hangs(tmp_path: Path) -> None:
    """Whichever bound its rank has: the rendezvous ends with the pod of rank 0, and its word too.

    Each rank is a pod of its own: that of the hanging one has failed, the other waits for it. All
    gangs at a time: they wait more than they work.
    """
    late = (BOUND, 3 * BOUND)
    with (
        gang(tmp_path / "data", 1, 1, "data") as data,
        gang(tmp_path / "late", 1, 1, "iteration", late) as later,
        gang(tmp_path / "unwatched", 1, 1, "unwatched") as unwatched,
    ):
        for ranks, task, waits_in in (
            (data, "the data of iteration 3", "all_gather"),
            (later, "iteration 3", "all_reduce"),
            (unwatched, "what comes between its tasks", "all_reduce"),
        ):
            assert [ranks.code(rank) for rank in (0, 1)] == [ExitCode.PEER_LOST, ExitCode.STALLED]
            told = ranks.failures()
            assert [(one.rank, one.reason) for one in told] == [
                (1, FailureReason.STALLED),
                (0, FailureReason.PEER_LOST),
            ]
            for one in told:
                assert f"rank 1 has not finished {task}" in one.message
                assert one.message.endswith("the others wait")
            assert "in never_returns" in ranks.log(1)
            assert f"in {waits_in}" in ranks.log(0)


def stop_where_they_hang(gangs: list[tuple[Gang, int]]) -> None:
    """Stop a rank of each gang as soon as this one hangs: it would soon end by itself."""
    waiting, deadline = list(gangs), time.monotonic() + DEADLINE_SECONDS
    while waiting:
        assert time.monotonic() < deadline
        for ranks, stopped in [one for one in waiting if one[0].hangs()]:
            ranks.processes[stopped].send_signal(signal.SIGSTOP)
            waiting.remove((ranks, stopped))
        time.sleep(0.05)


def test_a_stopped_rank_is_named_whichever_it_is(tmp_path: Path) -> None:
    # Both at a time: they wait more than they work. Rank 0 keeps the heartbeats of all.
    with (
        gang(tmp_path / "first", hanging=0) as first,
        gang(tmp_path / "second", hanging=1) as second,
    ):
        stop_where_they_hang([(first, 0), (second, 1)])
        for ranks, stopped in ((first, 0), (second, 1)):
            assert ranks.code(1 - stopped) == ExitCode.STALLED
            failure = ranks.failure(1 - stopped)
            assert failure.reason is FailureReason.STALLED
            expected = f"rank {stopped} has not finished iteration 3 (not responding"
            assert expected in failure.message
