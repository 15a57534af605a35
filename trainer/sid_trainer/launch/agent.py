"""One launch of torchrun, whose end is told in a typed file instead of exit code 1.

``python -m sid_trainer.launch.agent OUTCOME.json TORCHRUN-ARGUMENTS…`` runs torchrun's own entry in
this process and writes an :class:`~sid_trainer.launch.verdict.AgentOutcome` as JSON. torchrun
itself exits with 1 whatever happened, and prints a table where a cause is wanted. Should the file
not be written, the exit code says what it can.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from sid_trainer.launch.verdict import AgentOutcome, WorkerExit, code_of, outcome_of
from sid_trainer.process.ending import end_with
from sid_trainer.storage.file import replacing

logger = logging.getLogger(__name__)


def run_agent(arguments: Sequence[str]) -> AgentOutcome:
    """Run torchrun with its command-line arguments; return how it ended."""
    from torch.distributed import run as torchrun  # noqa: PLC0415 - heavy
    from torch.distributed.elastic.multiprocessing.errors import (  # noqa: PLC0415
        ChildFailedError,
    )
    from torch.distributed.elastic.rendezvous import RendezvousError  # noqa: PLC0415

    from sid_trainer.launch import open_rendezvous  # noqa: PLC0415

    open_rendezvous.offer()
    try:
        torchrun.run(torchrun.parse_args(list(arguments)))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        exits = [WorkerExit(rank, f.exitcode) for rank, f in sorted(error.failures.items())]
        return AgentOutcome("workers", tuple(exits))
    except (RendezvousError, ConnectionError) as error:
        return AgentOutcome("rendezvous", detail=_named(error))
    except RuntimeError as error:  # torch's DistError family: the store in node 0 is gone
        if not type(error).__name__.startswith("Dist"):
            raise
        return AgentOutcome("rendezvous", detail=_named(error))
    return AgentOutcome("succeeded")


def read_outcome(path: Path, code: int) -> AgentOutcome:
    """What the agent wrote, or what its exit code says when it could not."""
    if not path.exists():
        return outcome_of(code)
    data = json.loads(path.read_text())
    exits = tuple(WorkerExit(**worker) for worker in data.pop("exits"))
    return AgentOutcome(**data, exits=exits)


def main(arguments: Sequence[str]) -> int:
    """Entry of the agent process."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s agent %(levelname)s %(message)s")
    outcome_path, *rest = arguments
    try:
        outcome = run_agent(rest)
    except Exception as error:
        logger.exception("torchrun failed")
        outcome = AgentOutcome("error", detail=_named(error))
    try:
        with replacing(Path(outcome_path)) as file:
            file.write(json.dumps(dataclasses.asdict(outcome)).encode())
    except OSError as error:
        logger.error("the launcher hears the code of this alone: %s", error)
    return code_of(outcome)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


if __name__ == "__main__":
    end_with(main(sys.argv[1:]))
