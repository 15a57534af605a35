"""PID 1 of a training pod: launches the workers, and ends with the cause of their end.

Rules this module keeps:

* The configuration, and what it refers to, is checked before anything heavy is started.
* The exit code is the cause's (:data:`~sid_trainer.contract.EXIT_CODE_OF`), and the termination
  message says the same in words, with the last progress.
* What happens after a failure is decided in :mod:`sid_trainer.launch.verdict`, how often in
  :mod:`sid_trainer.launch.budget`; here is only the loop around them.
* No process below it survives it. Its last word is written before it waits for the last of them:
  one that is stuck in the kernel may outlast the pod's grace period.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from sid_trainer.config import RunConfig
from sid_trainer.config.file import load_config
from sid_trainer.contract import (
    EXIT_CODE_OF,
    ExitCode,
    Failure,
    FailureReason,
    TerminationRecord,
    TrainerError,
)
from sid_trainer.launch import agent, processes, rendezvous
from sid_trainer.launch.budget import Budget
from sid_trainer.launch.preflight import check_inputs, is_over
from sid_trainer.launch.settings import LaunchSettings
from sid_trainer.launch.silence import silent_workers
from sid_trainer.launch.verdict import AgentOutcome, Verdict, judge
from sid_trainer.process import environment
from sid_trainer.process.failures import failure_of
from sid_trainer.process.run_directory import RUN_DIRECTORY, RunDirectory
from sid_trainer.process.termination import termination_log, write_record

logger = logging.getLogger(__name__)


def launch(
    config_path: Path,
    settings: LaunchSettings | None = None,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Run the training processes of this node to their end.

    Args:
        config_path: the run's configuration file.
        settings: how patient to be, and what to start.
        environ: the environment; ``JOB_COMPLETION_INDEX`` is this node's index.

    Returns:
        The exit code of the pod.
    """
    log = termination_log(environ)
    with tempfile.TemporaryDirectory(prefix="sid-run-") as folder:
        directory = RunDirectory(Path(folder))
        try:
            failure = _run(config_path, settings or LaunchSettings(), environ, directory)
        except Exception as error:
            failure = failure_of(error)
            if not isinstance(error, TrainerError):
                logger.exception("the launcher failed")
        try:
            return _conclude(failure, directory, log)
        finally:
            processes.kill_descendants(processes.LAST_SECONDS)


def _conclude(failure: Failure | None, directory: RunDirectory, log: Path | None) -> int:
    """Write the last record and return the exit code."""
    progress = directory.progress()
    if failure is None:
        write_record(TerminationRecord(state="succeeded", progress=progress), log)
        return ExitCode.DONE
    logger.error("%s: %s", failure.reason.value, failure.message)
    write_record(TerminationRecord(state="failed", progress=progress, failure=failure), log)
    return EXIT_CODE_OF[failure.reason]


def _run(
    config_path: Path, settings: LaunchSettings, environ: Mapping[str, str], directory: RunDirectory
) -> Failure | None:
    """Check the configuration and launch; None when all went well."""
    # First of all: the kernel drops a SIGTERM that PID 1 neither handles nor blocks.
    processes.take_charge()
    config = load_config(config_path)
    node = rendezvous.node_rank(environ, config.launch.nodes)
    if is_over(config, environ):
        logger.info("the run is done: this pod replaces one that was lost in the last moment")
        return None
    check_inputs(config)
    try:
        return _Launches(config, config_path, node, settings, environ, directory).run()
    except processes.Terminated:
        return Failure(reason=FailureReason.TERMINATED, message="the pod was told to end (SIGTERM)")


class _Launches:
    """The launches of one pod, one after the other, until there is a verdict that ends it."""

    def __init__(
        self,
        config: RunConfig,
        config_path: Path,
        node: int,
        settings: LaunchSettings,
        environ: Mapping[str, str],
        directory: RunDirectory,
    ) -> None:
        self._config, self._config_path, self._node = config, config_path, node
        self._settings, self._directory = settings, directory
        self._silent: list[Failure] = []
        self._environ = environment.training_environment(
            {**environ, RUN_DIRECTORY: str(directory.path)},
            config.launch.device,
            config.launch.processes_per_node,
            environment.available_cpus(),
        )

    def run(self) -> Failure | None:
        """Launch until done, failed or out of patience."""
        budget = Budget(since=time.monotonic())
        while True:
            verdict = self._once(budget)
            if verdict.action != "relaunch":
                return verdict.failure
            budget = self._account(budget)
            exhausted = budget.exhausted(time.monotonic(), self._settings)
            if exhausted:
                return Failure(reason=FailureReason.PEER_LOST, message=exhausted)
            self._tell(verdict, budget)
            processes.pause(self._settings.pause(max(1, budget.relaunches)))

    def _once(self, budget: Budget) -> Verdict:
        """One launch and what follows from its end."""
        self._directory.clear_launch()
        self._silent = []
        left = budget.seconds_left(time.monotonic(), self._settings)
        launch = self._config.launch
        missing = rendezvous.wait_for_names(launch, self._node, left)
        if missing:
            return judge(AgentOutcome("rendezvous", detail=missing), [], launch.nodes)
        kills = environment.memory_kills()
        left = budget.seconds_left(time.monotonic(), self._settings)
        outcome = self._agent(left)
        return judge(
            outcome,
            [*self._directory.failures(), *self._silent],
            launch.nodes,
            memory_killed=environment.memory_kills() > kills,
        )

    def _agent(self, join_seconds: float) -> AgentOutcome:
        """Run the agent to its end and leave nothing of it behind, unless the pod is to end."""
        outcome_path = self._directory.path / "agent.json"
        outcome_path.unlink(missing_ok=True)
        launch, settings = self._config.launch, self._settings
        run_id = rendezvous.rendezvous_id(self._config.name, self._environ)
        pid = processes.start(
            [
                settings.python,
                "-m",
                agent.__name__,
                str(outcome_path),
                f"--log-dir={self._directory.path}",  # torchrun would leave a folder in /tmp
                *rendezvous.torchrun_arguments(launch, self._node, run_id, settings, join_seconds),
                *settings.worker,
                "--config",
                str(self._config_path),
            ],
            self._environ,
        )
        logger.info("node %d of %d: agent started", self._node, launch.nodes)
        code = processes.wait_for(
            pid, settings.grace_seconds, self._ask_to_stop, self._has_silent_workers
        )
        processes.kill_descendants()
        return agent.read_outcome(outcome_path, code)

    def _has_silent_workers(self) -> bool:
        """Whether a worker shows no pulse any more; its failure is noted in its place."""
        silent = silent_workers(self._directory, time.monotonic())
        for pulse in silent:
            message = (
                f"rank {pulse.rank} gave no sign of life for {pulse.bound:.0f} s: its process is "
                "stopped, or stuck in the kernel; look at the node"
            )
            stalled = Failure(reason=FailureReason.STALLED, message=message, rank=pulse.rank)
            self._silent.append(stalled)
        return bool(silent)

    def _ask_to_stop(self) -> float:
        """Ask the workers for a last checkpoint; return the seconds that they get for it."""
        if not self._directory.is_training():
            return 0.0
        seconds = self._config.launch.grace_seconds - self._settings.margin_seconds
        if seconds <= 0 or not self._directory.request_stop():
            return 0.0
        logger.info("told to end: a last checkpoint is stored, if %.0f s are enough", seconds)
        return seconds

    def _account(self, budget: Budget) -> Budget:
        checkpoint = self._directory.checkpoint()
        return budget.after_launch(
            time.monotonic(),
            self._directory.group_formed(),
            checkpoint.iteration if checkpoint else None,
        )

    def _tell(self, verdict: Verdict, budget: Budget) -> None:
        why = verdict.failure.message if verdict.failure else ""
        logger.warning(
            "a peer was lost (%s); launching again in place to wait for its replacement "
            "(%d of at most %d without a new checkpoint)",
            why,
            budget.relaunches,
            self._settings.max_relaunches,
        )
