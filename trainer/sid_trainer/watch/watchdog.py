"""Notices that training has come to a halt, says which rank hangs, and ends the process.

A rank that hangs (a file system that does not answer, a GPU in error, a stopped process) leaves the
others waiting in a collective operation, from which no exception comes for a long time, and then
one that blames the connection.

Rules this module keeps:

* Two threads, so that neither a blocked main thread nor a store that does not answer stops it: one
  tells the other ranks of this one, the other keeps the time. Should the interpreter itself be
  blocked, a timer in C dumps the stacks and ends the process.
* What ranks tell each other costs neither a collective nor a wait for the device.
* A process that is stopped, or stuck in the kernel, can do none of this: it shows its launcher a
  pulse, which ends it when the pulse stays away.
* All stacks are in the log before a process ends.
* The failure is told where it is: pods of ranks that hang end as ``Stalled`` and are replaced, the
  others as ``PeerLost``, and wait for the replacement.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch.distributed as dist

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.process.run_directory import Pulse, RunDirectory
from sid_trainer.watch.heartbeats import Heartbeats, collectives_begun
from sid_trainer.watch.pace import USERS, Pace
from sid_trainer.watch.stall import Heartbeat, Judgement, judge_stall, store_is_silent

LONGEST_TICK = 5.0
"""Seconds between two heartbeats at most."""
TICKS = 8
"""Heartbeats within the bound at least."""
PATIENCE = 5
"""Heartbeats within which every living rank tells of itself anew."""
LEAVING_SECONDS = 5.0
"""What is under way at the end is waited for so long: a store may never answer."""
STDERR = 2
"""The descriptor. In the place of ``sys.stderr`` the main thread may have put something else for a
while, which is no file: torch does while it compiles."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Task:
    """What the main thread is at.

    Attributes:
        number: from 1.
        name: in messages.
        since: when it began.
        paced: whether it is like those before it (:mod:`sid_trainer.watch.pace`).
    """

    number: int
    name: str
    since: float
    paced: bool


class Watchdog:
    """Watches the tasks of this rank's main thread; a context manager, entered by all ranks.

    Args:
        seconds: within which a task must be finished, at most (:mod:`sid_trainer.watch.pace`). 0
            watches nothing.
        end: ends the process for a failure; called in another thread than the main one.
        directory: where the launcher looks for a pulse; None where there is no launcher.
        environ: where torchrun says how many processes a node has.
    """

    def __init__(
        self,
        seconds: float,
        end: Callable[[TrainerError], None],
        directory: RunDirectory | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._seconds, self._end, self._directory = seconds, end, directory
        self._pace = Pace(seconds)
        self._per_node = int(environ.get("LOCAL_WORLD_SIZE", "1"))
        self._tick = min(LONGEST_TICK, seconds / TICKS)
        self._rank, self._begun, self._beats = 0, 0, 0
        self._task: _Task | None = None
        self._heard: list[Heartbeat] | None = None
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Watchdog:
        if self._seconds:
            heartbeats, self._rank = Heartbeats(), dist.get_rank()
            for work in (lambda: self._keep_telling(heartbeats), self._keep_time):
                thread = threading.Thread(target=work, name="watchdog", daemon=True)
                thread.start()
                self._threads.append(thread)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        deadline = time.monotonic() + LEAVING_SECONDS
        for thread in self._threads:  # what they use, the group of ranks, may be gone next
            thread.join(max(deadline - time.monotonic(), 0.0))
        faulthandler.cancel_dump_traceback_later()

    @contextmanager
    def watch(self, name: str, *, paced: bool = True) -> Iterator[None]:
        """Expect what is done within to be finished in time.

        Args:
            name: of the task, in messages: ``iteration 120``.
            paced: it takes about as long as the paced ones before it. What may take any time has
                the user's bound.
        """
        self._begun += 1
        task = self._task = _Task(self._begun, name, time.monotonic(), paced)
        try:
            yield
        finally:
            self._task = None
        if paced:
            self._pace.took(time.monotonic() - task.since)

    def _bound(self, task: _Task | None) -> float:
        """Seconds that a task may take."""
        return self._seconds if task is not None and not task.paced else self._pace.bound

    def _overdue(self) -> _Task | None:
        """The task, if it takes too long."""
        task = self._task
        late = task is not None and time.monotonic() - task.since > self._bound(task)
        return task if late else None

    def _keep_telling(self, heartbeats: Heartbeats) -> None:
        while not self._stopped.wait(self._tick):
            self._beats += 1
            name = task.name if (task := self._task) else ""
            try:
                heartbeats.tell(Heartbeat(self._beats, self._begun, collectives_begun(), name))
                self._heard = heartbeats.hear() if self._overdue() else None
            except (dist.DistError, ValueError) as error:  # a ValueError where the group is gone
                if not self._stopped.is_set():
                    logger.warning("heartbeats end, as nobody can be told: %s", error)
                return

    def _keep_time(self) -> None:
        while not self._stopped.wait(self._tick):
            task, overdue = self._task, self._overdue()
            self._put_off(task)
            if self._directory is not None:
                bound = self._bound(task)
                now, pid = time.monotonic(), os.getpid()
                self._directory.write_pulse(Pulse(rank=self._rank, pid=pid, time=now, bound=bound))
            if overdue is not None:
                self._conclude(overdue)
        faulthandler.cancel_dump_traceback_later()  # it may have been put off once more at the end
        if self._directory is not None:
            self._directory.end_pulse(self._rank)

    def _put_off(self, task: _Task | None) -> None:
        """Set the timer in C anew: only a blocked interpreter keeps this from being done again."""
        if task is None:
            faulthandler.cancel_dump_traceback_later()
        else:
            later = self._bound(task) + 2 * PATIENCE * self._tick
            faulthandler.dump_traceback_later(later, exit=True, file=STDERR)

    def _conclude(self, task: _Task) -> None:
        """Dump the stacks, find out who hangs, and end the process."""
        logger.error(
            "%s is not finished after %.0f s; the stacks of this rank's threads follow",
            task.name,
            self._bound(task),
        )
        faulthandler.dump_traceback(file=STDERR, all_threads=True)
        judgement = self._judge(task)
        if self._stopped.is_set() or self._task is not task:
            logger.warning("%s went on in the end: training goes on", task.name)
            return
        told = self._pace.told if task.paced else USERS
        self._end(
            TrainerError(
                self._reason(judgement),
                f"nothing was finished for {self._bound(task):.0f} s ({told}): {judgement.message}",
            )
        )

    def _judge(self, task: _Task) -> Judgement:
        self._stopped.wait(PATIENCE * self._tick)
        before = self._heard
        self._stopped.wait(PATIENCE * self._tick)
        after = self._heard
        if before is None or after is None or before is after:
            return store_is_silent(task.name)
        return judge_stall(before, after)

    def _reason(self, judgement: Judgement) -> FailureReason:
        """Stalled in the pods of the ranks that hang, or in the first where none is known."""
        nodes = {rank // self._per_node for rank in judgement.ranks or (0,)}
        here = self._rank // self._per_node in nodes
        return FailureReason.STALLED if here else FailureReason.PEER_LOST
