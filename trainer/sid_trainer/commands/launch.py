"""``launch``: run this node's training processes; PID 1 of a training pod."""

from __future__ import annotations

from collections.abc import Sequence

from sid_trainer.commands import config_path
from sid_trainer.launch.launcher import launch
from sid_trainer.telling.console import set_up_logging


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    path = config_path("launch", "Run this node's training processes to their end.", arguments)
    set_up_logging()
    return launch(path)
