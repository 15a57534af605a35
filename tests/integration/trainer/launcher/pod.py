"""Runs the launcher as a pod would: ``pod.py CONFIG WORKER GROUP_SECONDS``."""

import sys
from pathlib import Path

from sid_trainer.launch.launcher import launch
from sid_trainer.launch.settings import LaunchSettings
from sid_trainer.telling.console import set_up_logging

if __name__ == "__main__":
    config, worker, group_seconds = sys.argv[1:]
    set_up_logging()
    sys.exit(
        launch(
            Path(config),
            LaunchSettings(
                worker=(worker,),
                group_seconds=float(group_seconds),
                first_pause=0.5,
                store_seconds=15,
            ),
        )
    )
