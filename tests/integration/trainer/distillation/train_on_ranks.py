"""Run on each rank: a whole run. Argument: its configuration file."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from sid_ranks import quiet

from sid_trainer.config import RunConfig
from sid_trainer.process.ending import end_with
from sid_trainer.training.run import train


def main() -> None:
    quiet()
    train(RunConfig.model_validate(yaml.safe_load(Path(sys.argv[1]).read_text())))


if __name__ == "__main__":
    main()
    end_with(0)
