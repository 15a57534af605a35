"""The command line: ``python -m sid_trainer COMMAND …``.

Rules this module keeps:

* Importing it imports no torch; each command loads what it needs.
* A known failure is one readable message and the exit code of its cause; only an unknown one
  prints a traceback.
* A command is a function ``(arguments) -> exit code``; adding one is one line in ``COMMANDS``.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from sid_trainer.contract import EXIT_CODE_OF, FailureReason
from sid_trainer.process.failures import failure_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """A command: the module whose ``main(arguments)`` runs it, and a line of help."""

    module: str
    help: str


COMMANDS = {
    "train": Command("sid_trainer.commands.train", "train in this process, without Kubernetes"),
    "launch": Command(
        "sid_trainer.commands.launch", "run this node's training processes (PID 1 of a pod)"
    ),
    "worker": Command("sid_trainer.commands.worker", "one training process, started by launch"),
    "estimate": Command(
        "sid_trainer.commands.estimate", "tell the memory that a run needs, before it starts"
    ),
    "config": Command("sid_trainer.commands.config", "check a file, print it with all defaults"),
    "checkpoints": Command(
        "sid_trainer.commands.checkpoints",
        "list, verify, export, prune the checkpoints of a run",
    ),
    "remove": Command("sid_trainer.commands.remove", "delete a run's folder from its storage"),
    "digits": Command("sid_trainer.digits.cli", "the small teacher of handwritten digits"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = _parser().parse_args(given[:1]).command
    try:
        return int(importlib.import_module(COMMANDS[name].module).main(given[1:]))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - told below, all of them
        return _report(error)


def _report(error: BaseException) -> int:
    """Print a failure as people read it and return its exit code."""
    failure = failure_of(error)
    if failure.reason is FailureReason.UNKNOWN:
        logger.error("this is a fault of the program:", exc_info=error)
    print(f"error: {failure.message}", file=sys.stderr)
    return EXIT_CODE_OF[failure.reason]


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}} {one.help}" for name, one in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m sid_trainer",
        description="Distil a text-to-image teacher into a few-step student.",
        epilog=f"commands:\n{commands}\n\n'COMMAND --help' tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    return parser
