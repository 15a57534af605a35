"""``config``: check a configuration file and print it with every default written out."""

from __future__ import annotations

from collections.abc import Sequence

from sid_trainer.commands import config_path
from sid_trainer.config.file import dump_config, load_config
from sid_trainer.contract import ExitCode


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    path = config_path("config", "Check a configuration file and print it resolved.", arguments)
    print(dump_config(load_config(path)), end="")
    return ExitCode.DONE
