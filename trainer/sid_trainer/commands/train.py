"""``train``: a run of one process on this machine, without Kubernetes and without torchrun.

Rule this module keeps: the first SIGTERM, or Ctrl-C, has what is trained stored before the process
ends, as a launcher does; before and after training, and the second time, it ends at once.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from sid_trainer.commands import config_path
from sid_trainer.config.file import load_config
from sid_trainer.contract import ExitCode, FailureReason, TrainerError
from sid_trainer.launch.preflight import check_inputs
from sid_trainer.process.environment import available_cpus, training_environment
from sid_trainer.process.run_directory import RUN_DIRECTORY, RunDirectory
from sid_trainer.telling.console import hide_progress_bars, set_up_logging

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    path = config_path("train", "Train in this process, without Kubernetes.", arguments)
    config = load_config(path)
    world = config.launch.world_size
    if world != 1:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"{path} asks for {world} processes, and train is one: use "
            f"'python -m sid_trainer launch --config {path}' (on every node), or set launch.nodes "
            "and launch.processesPerNode to 1",
        )
    set_up_logging()
    check_inputs(config)
    os.environ.update(training_environment(os.environ, config.launch.device, 1, available_cpus()))

    from sid_trainer.training.run import train  # noqa: PLC0415 - torch reads the environment when it loads

    hide_progress_bars()
    with _ending_softly():
        train(config)
    return ExitCode.DONE


@contextmanager
def _ending_softly() -> Iterator[None]:
    """Have signals heard where training hears its launcher: in a folder of the run's own."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    with tempfile.TemporaryDirectory(prefix="sid-run-") as folder:
        directory = RunDirectory(Path(folder))

        def told(number: int, _: FrameType | None) -> None:
            restore()
            if not (directory.is_training() and directory.request_stop()):
                signal.raise_signal(number)

        os.environ[RUN_DIRECTORY] = folder
        try:
            for number in _SIGNALS:
                signal.signal(number, told)
            yield
        finally:
            restore()
            del os.environ[RUN_DIRECTORY]
