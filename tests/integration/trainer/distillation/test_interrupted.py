"""A run without launcher that is interrupted stores what it trained, and goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from sid_trainer.checkpoint.finding import manifests
from sid_trainer.contract import ExitCode
from sid_trainer.storage import FileStorage

DEADLINE_SECONDS = 600  # a guard against hangs


def config(tmp_path: Path, teacher: Path) -> dict[str, Any]:
    (tmp_path / "prompts.txt").write_text("a seven\n")
    return {
        "teacher": {"model": str(teacher)},
        "data": {"prompts": {"uri": str(tmp_path / "prompts.txt")}},
        "training": {"iterations": 10**6, "batchSize": 2, "precision": "fp32"},
        "checkpoint": {"everyIterations": 10**6},
        "evaluation": {"everyIterations": 10**6, "prompts": ["a seven"]},
        "storage": {"uri": (tmp_path / "run").as_uri()},
        "launch": {"device": "cpu", "progressPort": 0},
    }


def interrupted(tmp_path: Path, number: signal.Signals) -> str:
    """What a run tells that gets a signal while it trains."""
    scratch, log = tmp_path / number.name, tmp_path / "log"
    scratch.mkdir()
    with log.open("wb") as output:
        run = subprocess.Popen(
            [sys.executable, "-m", "sid_trainer", "train", "--config", tmp_path / "config.yaml"],
            env=os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + DEADLINE_SECONDS
        while not [*scratch.glob("sid-run-*/training")]:
            assert run.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        run.send_signal(number)
        assert run.wait(DEADLINE_SECONDS) == ExitCode.TERMINATED, log.read_text()
    finally:
        run.kill()
    assert not [*scratch.glob("sid-run-*")]
    return log.read_text()


def test_an_interrupted_run_loses_nothing(tmp_path: Path, tiny_sd3: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(tmp_path, tiny_sd3)))
    reached = [0]
    for number in (signal.SIGTERM, signal.SIGINT):
        told = interrupted(tmp_path, number)
        iteration = manifests(FileStorage(tmp_path / "run"))[0].iteration
        assert iteration > reached[-1]
        assert f"the newest checkpoint is that of iteration {iteration}" in told
        reached.append(iteration)
