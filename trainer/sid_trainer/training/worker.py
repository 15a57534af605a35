"""The entry of one training process: whatever happens, its launcher learns why.

Rules this module keeps:

* The launcher hears of every end (:mod:`sid_trainer.process.ending`).
* SIGTERM ends the process at once, even inside a collective.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from sid_trainer.config import RunConfig
from sid_trainer.config.file import load_config
from sid_trainer.contract import ExitCode
from sid_trainer.process.ending import end_process
from sid_trainer.process.run_directory import RunDirectory
from sid_trainer.telling.console import hide_progress_bars, set_up_logging

logger = logging.getLogger(__name__)


def work(config_path: Path, train: Callable[[RunConfig], None] | None = None) -> int:
    """Run one process of the gang under torchrun and leave it.

    Args:
        config_path: the run's configuration file.
        train: what to do; the trainer's own by default.

    Returns:
        0; a failure leaves the process with the code of its cause.
    """
    rank, world = _place(os.environ)
    set_up_logging(rank, world)
    # The agent ends its workers so.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    directory = RunDirectory.from_environment()
    try:
        if directory is not None:
            directory.begin(rank)
        (train or _trainer())(load_config(config_path))
    except BaseException as error:  # noqa: BLE001 - the launcher must hear of every end
        end_process(error, rank, directory)
    return ExitCode.DONE


def _trainer() -> Callable[[RunConfig], None]:
    from sid_trainer.training.run import train  # noqa: PLC0415 - torch and DeepSpeed take seconds to load

    hide_progress_bars()
    return train


def _place(environ: Mapping[str, str]) -> tuple[int, int]:
    """Rank and world size as torchrun gives them."""
    return int(environ.get("RANK", "0")), int(environ.get("WORLD_SIZE", "1"))
