"""Run on each rank: a run that starts in a folder of the rank's own, as on a node of its own.

Arguments: the configuration file, the folder of these folders. What ends the run is printed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml
from sid_ranks import quiet

from sid_trainer.config import RunConfig
from sid_trainer.contract import TrainerError
from sid_trainer.process.ending import end_with
from sid_trainer.training.run import train


def main() -> None:
    quiet()
    os.chdir(Path(sys.argv[2]) / os.environ["RANK"])
    try:
        train(RunConfig.model_validate(yaml.safe_load(Path(sys.argv[1]).read_text())))
    except TrainerError as error:
        print(f"{error.reason.value}: {error}")


if __name__ == "__main__":
    main()
    end_with(0)
