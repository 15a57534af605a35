"""A training process that does not notice when a peer is gone, as NCCL may not.

The first one of each rank stays in its first collective operation for ever and shows its launcher a
pulse. Those that are started in its place load for longer than that pulse is good for, showing
none, and then do as :mod:`gang_worker` does, with the same folder.
"""

import os
import sys
import threading
import time
from pathlib import Path

from gang_worker import CONTROL, fail_if_told, show_pulse, sum_until_told

from sid_trainer.config import RunConfig
from sid_trainer.process.ending import end_with
from sid_trainer.training.worker import work

PULSE_SECONDS = 4.0
LOADING_SECONDS = 12.0  # the launcher looks every 5 seconds


def main() -> int:
    return work(Path(sys.argv[sys.argv.index("--config") + 1]), hang_or_sum)


def hang_or_sum(config: RunConfig) -> None:
    rank = int(os.environ["RANK"])
    if list(CONTROL.glob(f"started-{rank}-*")):
        time.sleep(LOADING_SECONDS)
        sum_until_told(config)
    else:
        (CONTROL / f"started-{rank}-{os.getpid()}").touch()
        threading.Thread(target=show_pulse, args=(rank, PULSE_SECONDS), daemon=True).start()
        while True:
            fail_if_told(rank)
            time.sleep(0.05)


if __name__ == "__main__":
    end_with(main())
