"""The commands of the command line, a module each with ``main(arguments) -> exit code``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def config_path(command: str, description: str, arguments: Sequence[str]) -> Path:
    """Parse ``--config FILE``, the one argument that most commands take."""
    parser = argparse.ArgumentParser(
        prog=f"python -m sid_trainer {command}", description=description
    )
    parser.add_argument(
        "--config", required=True, type=Path, metavar="FILE", help="YAML file of the run"
    )
    path: Path = parser.parse_args(arguments).config
    return path
