"""``worker``: one training process under torchrun, started by ``launch``."""

from __future__ import annotations

from collections.abc import Sequence

from sid_trainer.commands import config_path
from sid_trainer.training.worker import work


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    return work(config_path("worker", "One training process (started by launch).", arguments))
