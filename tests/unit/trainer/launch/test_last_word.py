"""What a launcher does at the end of its pod's grace period, in which order."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sid_trainer.contract import ExitCode, Failure, FailureReason, TerminationRecord
from sid_trainer.launch import launcher, processes
from sid_trainer.launch.settings import LaunchSettings


def test_the_last_word_is_written_before_the_last_process_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be stuck in the kernel for longer than the pod has."""
    log, told = tmp_path / "termination-log", []

    def kill(seconds: float) -> None:
        told.append((seconds, TerminationRecord.model_validate_json(log.read_bytes())))

    failure = Failure(reason=FailureReason.TERMINATED, message="the pod was told to end")
    monkeypatch.setattr(launcher, "_run", lambda *_: failure)
    monkeypatch.setattr(processes, "kill_descendants", kill)
    code = launcher.launch(tmp_path / "config.yaml", environ={"SID_TERMINATION_LOG": str(log)})
    assert code == ExitCode.TERMINATED
    assert told == [(processes.LAST_SECONDS, TerminationRecord(state="failed", failure=failure))]


def test_killing_fits_in_what_the_last_checkpoint_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[float] = []
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(processes, "kill_descendants", killed.append)
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    escalation = processes._Escalation(pid=7, at=0.0, grace=5.0)
    while not escalation.over:
        escalation.take()
    assert signals == [(7, signal.SIGTERM)]
    settings = LaunchSettings()
    at_the_end = sum(killed) + processes.LAST_SECONDS
    assert settings.grace_seconds + at_the_end < settings.margin_seconds
