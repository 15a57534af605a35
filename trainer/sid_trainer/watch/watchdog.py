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
* The first rank that comes to a judgement tells it, and all end by it: the pods of those that hang
  at once, the others a few heartbeats later. The rendezvous may end with them, and with it whoever
  has not told its failure by then.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

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
"""Heartbeats within which every living rank tells of itself anew, and hears of the others."""
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
        self._found: Judgement | None = None
        self._verdict: Judgement | None = None
        self._dumped = False
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
            try:
                heartbeats.tell(self._beat())
                self._heard = heartbeats.hear() if self._overdue() else None
                self._verdict = heartbeats.agree(self._found)
            except (dist.DistError, ValueError) as error:  # a ValueError where the group is gone
                if not self._stopped.is_set():
                    logger.warning("heartbeats end, as nobody can be told: %s", error)
                return

    def _beat(self) -> Heartbeat:
        self._beats += 1
        task = self._task
        in_time = task is not None and self._overdue() is None
        name = task.name if task is not None else ""
        return Heartbeat(self._beats, self._begun, collectives_begun(), name, in_time)

    def _keep_time(self) -> None:
        while not self._stopped.wait(self._tick):
            self._show_life()
            if self._verdict is not None:
                self._end_by(self._verdict)
            elif (overdue := self._overdue()) is not None:
                self._conclude(overdue)
        faulthandler.cancel_dump_traceback_later()  # it may have been put off once more at the end
        if self._directory is not None:
            self._directory.end_pulse(self._rank)

    def _show_life(self) -> None:
        """To the timer in C, and to the launcher."""
        task = self._task
        self._put_off(task)
        if self._directory is not None:
            bound, now = self._bound(task), time.monotonic()
            pulse = Pulse(rank=self._rank, pid=os.getpid(), time=now, bound=bound)
            self._directory.write_pulse(pulse)

    def _passed(self, heartbeats: int, unless: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; return whether it has, which is not so where the watch ended before."""
        for _ in range(heartbeats):
            if self._stopped.wait(self._tick) or unless():
                return False
            self._show_life()
        return True

    def _put_off(self, task: _Task | None) -> None:
        """Set the timer in C anew: only a blocked interpreter keeps this from being done again."""
        if task is None:
            faulthandler.cancel_dump_traceback_later()
        else:
            later = self._bound(task) + 2 * PATIENCE * self._tick
            faulthandler.dump_traceback_later(later, exit=True, file=STDERR)

    def _conclude(self, task: _Task) -> None:
        """Dump the stacks, find out who hangs, and end the process."""
        logger.error("%s is not finished after %.0f s", task.name, self._bound(task))
        self._dump_stacks()
        judgement = self._judge(task)
        if judgement is None:
            if not self._agreed():
                logger.warning("%s went on in the end: training goes on", task.name)
                self._dumped = False
            return
        seconds = time.monotonic() - task.since  # more than the bound where one in time was awaited
        by = self._pace.told if task.paced else USERS
        message = f"nothing was finished for {seconds:.0f} s ({by}): {judgement.message}"
        self._found = replace(judgement, message=message)
        self._passed(PATIENCE, unless=self._agreed)  # where the store is silent, it stays alone
        self._end_by(self._verdict or self._found)

    def _dump_stacks(self) -> None:
        if not self._dumped:
            logger.error("the stacks of this rank's threads follow")
            faulthandler.dump_traceback(file=STDERR, all_threads=True)
            self._dumped = True

    def _agreed(self) -> bool:
        """Whether there is a judgement that holds for all ranks."""
        return self._verdict is not None

    def _judge(self, task: _Task) -> Judgement | None:
        """Find out who hangs; None where the task went on, or another rank has found out."""
        while self._task is task:
            if not self._passed(PATIENCE, unless=self._agreed):
                return None
            before = self._heard
            if not self._passed(PATIENCE, unless=self._agreed):
                return None
            after = self._heard
            if before is None or after is None or before is after:
                judgement: Judgement | None = store_is_silent(task.name)
            else:
                judgement = judge_stall(before, after)
            if judgement is not None and self._task is task:
                return judgement
        return None

    def _end_by(self, judgement: Judgement) -> None:
        """End the process, if training has not ended by itself before."""
        if self._stopped.is_set():
            return
        self._dump_stacks()
        here = judgement.concerns(self._rank, self._per_node)
        if not here and not self._passed(PATIENCE):
            return
        reason = FailureReason.STALLED if here else FailureReason.PEER_LOST
        self._end(TrainerError(reason, judgement.message))
