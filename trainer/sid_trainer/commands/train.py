"""``train``: a run of one process on this machine, without Kubernetes and without torchrun."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sid_trainer.commands import config_path
from sid_trainer.config_file import load_config
from sid_trainer.console import hide_progress_bars, set_up_logging
from sid_trainer.contract import ExitCode, FailureReason, TrainerError
from sid_trainer.launch.environment import available_cpus, training_environment
from sid_trainer.launch.preflight import check_inputs


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

    from sid_trainer.run import train  # noqa: PLC0415 - torch reads the environment when it loads

    hide_progress_bars()
    train(config)
    return ExitCode.DONE
