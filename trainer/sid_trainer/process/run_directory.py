"""The folder through which the processes of one pod talk to their launcher.

Rules this module keeps:

* The launcher makes the folder and names it in ``SID_RUN_DIRECTORY``; without a launcher (a local
  run in one process) there is none, and nothing is written.
* A file appears whole or not at all; a file that cannot be read is an error of ours, never a guess.
* What cannot be written here (the disk is full) ends no run: that is told once, and a sign of life
  that would grow old is taken back.
* Files: ``failure-00001.json`` (rank 1 failed, and why), ``progress.json`` (the newest report of
  rank 0), ``checkpoint.json`` (the newest committed checkpoint), ``group`` (a group was formed),
  ``training`` (the workers look at ``stop``), ``stop`` (they are to store a checkpoint and end),
  ``pulse-00001.json`` (rank 1 lives; renewed every few seconds as long as it is there).
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from sid_trainer.contract import CheckpointRef, Failure, ProgressReport
from sid_trainer.storage.file import replacing

RUN_DIRECTORY = "SID_RUN_DIRECTORY"
Content = TypeVar("Content", bound=BaseModel)

logger = logging.getLogger(__name__)


class Pulse(BaseModel):
    """A sign of life of a worker.

    Attributes:
        rank: of the worker.
        pid: of its process: a sign of one that is gone says nothing of the next.
        time: reading of the machine's monotonic clock, in seconds.
        bound: seconds after which the next sign is overdue.
    """

    rank: int
    pid: int
    time: float
    bound: float


class RunDirectory:
    """Typed access to the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned = False

    @classmethod
    def from_environment(cls) -> RunDirectory | None:
        """The launcher's folder, or None in a process that no launcher started."""
        path = os.environ.get(RUN_DIRECTORY)
        return cls(Path(path)) if path else None

    def write_failure(self, rank: int, failure: Failure) -> None:
        """Tell the launcher why this worker ends."""
        self._write(_failure_file(rank), failure)

    def failures(self) -> list[Failure]:
        """What the workers told, the earliest first."""
        files = sorted(self.path.glob("failure-*.json"), key=lambda file: file.stat().st_mtime_ns)
        return [Failure.model_validate_json(file.read_bytes()) for file in files]

    def write_progress(self, report: ProgressReport) -> None:
        """Leave the newest report for the termination message."""
        self._sign("progress.json", report)

    def progress(self) -> ProgressReport | None:
        """The newest report of rank 0, if it was in this pod."""
        return self._read("progress.json", ProgressReport)

    def write_checkpoint(self, ref: CheckpointRef) -> None:
        """Note the newest committed checkpoint."""
        self._sign("checkpoint.json", ref)

    def checkpoint(self) -> CheckpointRef | None:
        """The newest checkpoint that a worker of this pod saw committed."""
        return self._read("checkpoint.json", CheckpointRef)

    def begin(self, rank: int) -> None:
        """Note that a worker starts, so that the group of all ranks was formed.

        Torchrun may start it in place of one that it stopped, within one launch: what that one
        left is forgotten.
        """

        def write() -> None:
            for name in (_failure_file(rank), _pulse_file(rank), "training"):
                (self.path / name).unlink(missing_ok=True)
            (self.path / "group").touch()

        self._attempt("group", write)

    def group_formed(self) -> bool:
        """Whether the agent got as far as starting a worker."""
        return (self.path / "group").exists()

    def note_training(self) -> None:
        """Note that this worker will look at :meth:`stop_requested` from now on."""
        self._attempt("training", (self.path / "training").touch)

    def end_training(self) -> None:
        """Note that nobody looks at :meth:`stop_requested` any more."""
        self._attempt("training", lambda: (self.path / "training").unlink(missing_ok=True))

    def is_training(self) -> bool:
        """Whether the workers would hear of a request to stop."""
        return (self.path / "training").exists()

    def request_stop(self) -> bool:
        """Ask the workers to store a checkpoint and end; return whether that was possible."""
        stop = self.path / "stop"
        try:
            stop.touch()
        except OSError:  # a full disk has room for another name of what is there
            return self._attempt("stop", lambda: (self.path / "training").rename(stop))
        return True

    def stop_requested(self) -> bool:
        """Whether the launcher asked the workers to end."""
        return (self.path / "stop").exists()

    def write_pulse(self, pulse: Pulse) -> None:
        """Tell the launcher that this worker lives, and when to expect the next sign."""
        if not self._sign(_pulse_file(pulse.rank), pulse):
            with contextlib.suppress(OSError):
                self.end_pulse(pulse.rank)

    def end_pulse(self, rank: int) -> None:
        """Tell the launcher to expect no sign of this worker any more."""
        (self.path / _pulse_file(rank)).unlink(missing_ok=True)

    def silent(self, now: float) -> list[Pulse]:
        """The last signs of workers whose next one is overdue, by rank."""
        pulses = [
            pulse
            for file in sorted(self.path.glob("pulse-*.json"))
            if (pulse := self._read(file.name, Pulse)) is not None
        ]
        return [pulse for pulse in pulses if now - pulse.time > pulse.bound]

    def clear_launch(self) -> None:
        """Forget what concerns the last launch alone, before the next one."""
        launch = (self.path / "group", self.path / "training")
        told = (*self.path.glob("failure-*.json"), *self.path.glob("pulse-*.json"))
        for file in (*told, *launch):
            file.unlink(missing_ok=True)

    def _sign(self, name: str, content: BaseModel) -> bool:
        """Write a sign; return whether it was possible."""
        return self._attempt(name, lambda: self._write(name, content))

    def _attempt(self, name: str, write: Callable[[], object]) -> bool:
        """Write a file, or tell that it cannot be; return whether it was possible."""
        try:
            write()
        except OSError as error:
            if not self._warned:
                self._warned = True
                logger.warning(
                    "%s cannot be written (%s): training goes on, its launcher hears less of it",
                    self.path / name,
                    error.strerror or error,
                )
            return False
        return True

    def _write(self, name: str, content: BaseModel) -> None:
        with replacing(self.path / name) as file:
            file.write(content.model_dump_json(by_alias=True).encode())

    def _read(self, name: str, model: type[Content]) -> Content | None:
        try:
            return model.model_validate_json((self.path / name).read_bytes())
        except FileNotFoundError:
            return None


def _failure_file(rank: int) -> str:
    return f"failure-{rank:05d}.json"


def _pulse_file(rank: int) -> str:
    return f"pulse-{rank:05d}.json"
