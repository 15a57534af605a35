"""The folder through which the processes of one pod talk to their launcher.

Rules this module keeps:

* The launcher makes the folder and names it in ``SID_RUN_DIRECTORY``; without a launcher (a local
  run in one process) there is none, and nothing is written.
* A file appears whole or not at all; a file that cannot be read is an error of ours, never a guess.
* Files: ``failure-00001.json`` (rank 1 failed, and why), ``progress.json`` (the newest report of
  rank 0), ``checkpoint.json`` (the newest committed checkpoint), ``group`` (a group was formed),
  ``training`` (the workers look at ``stop``), ``stop`` (they are to store a checkpoint and end).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from sid_trainer.contract import CheckpointRef, Failure, ProgressReport
from sid_trainer.storage.file import replacing

RUN_DIRECTORY = "SID_RUN_DIRECTORY"
Content = TypeVar("Content", bound=BaseModel)


class RunDirectory:
    """Typed access to the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> RunDirectory | None:
        """The launcher's folder, or None in a process that no launcher started."""
        path = environ.get(RUN_DIRECTORY)
        return cls(Path(path)) if path else None

    def write_failure(self, rank: int, failure: Failure) -> None:
        """Tell the launcher why this worker ends."""
        self._write(f"failure-{rank:05d}.json", failure)

    def failures(self) -> list[Failure]:
        """What the workers told, the earliest first."""
        files = sorted(self.path.glob("failure-*.json"), key=lambda file: file.stat().st_mtime_ns)
        return [Failure.model_validate_json(file.read_bytes()) for file in files]

    def write_progress(self, report: ProgressReport) -> None:
        """Leave the newest report for the termination message."""
        self._write("progress.json", report)

    def progress(self) -> ProgressReport | None:
        """The newest report of rank 0, if it was in this pod."""
        return self._read("progress.json", ProgressReport)

    def write_checkpoint(self, ref: CheckpointRef) -> None:
        """Note the newest committed checkpoint."""
        self._write("checkpoint.json", ref)

    def checkpoint(self) -> CheckpointRef | None:
        """The newest checkpoint that a worker of this pod saw committed."""
        return self._read("checkpoint.json", CheckpointRef)

    def note_group(self) -> None:
        """Note that the group of all ranks was formed: called by the worker when it starts."""
        (self.path / "group").touch()

    def group_formed(self) -> bool:
        """Whether the agent got as far as starting a worker."""
        return (self.path / "group").exists()

    def note_training(self) -> None:
        """Note that this worker will look at :meth:`stop_requested` from now on."""
        (self.path / "training").touch()

    def is_training(self) -> bool:
        """Whether the workers would hear of a request to stop."""
        return (self.path / "training").exists()

    def request_stop(self) -> None:
        """Ask the workers to store a checkpoint and end: called by the launcher."""
        (self.path / "stop").touch()

    def stop_requested(self) -> bool:
        """Whether the launcher asked the workers to end."""
        return (self.path / "stop").exists()

    def clear_launch(self) -> None:
        """Forget what concerns the last launch alone, before the next one."""
        launch = (self.path / "group", self.path / "training")
        for file in (*self.path.glob("failure-*.json"), *launch):
            file.unlink(missing_ok=True)

    def _write(self, name: str, content: BaseModel) -> None:
        with replacing(self.path / name) as file:
            file.write(content.model_dump_json(by_alias=True).encode())

    def _read(self, name: str, model: type[Content]) -> Content | None:
        path = self.path / name
        return model.model_validate_json(path.read_bytes()) if path.exists() else None
