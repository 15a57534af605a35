"""One run through the fault proxy to its end, watched and then judged."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.integration.trainer.faults.judge import Bucket, Outcome, incomplete_uploads, judge
from tests.integration.trainer.faults.pods import Pods, Starter
from tests.integration.trainer.faults.proxy import FaultProxy
from tests.integration.trainer.faults.schedule import Fault, Kind, Schedule
from tests.integration.trainer.faults.watcher import Watcher
from tests.loopback import free_port
from tests.minio_server import BUCKET, MinioServer

RANKS = 2
DEADLINE_SECONDS = 900.0
"""A guard against hangs; a loaded machine may be slow."""
KEEP = 2


@dataclass(frozen=True)
class Shape:
    """What is trained.

    Attributes:
        teacher: pipeline directory.
        iterations: length of the run.
        every: iterations between two checkpoints.
        nodes: pods over which the two ranks are spread.
    """

    teacher: Path
    iterations: int
    every: int
    nodes: int = 1

    def config(self, folder: Path, endpoint: str, prefix: str) -> Path:
        """Write the run's configuration."""
        prompts = folder / "prompts.txt"
        prompts.write_text("one\ntwo\nthree\nfour\nfive\n")
        sections: dict[str, Any] = {
            "name": "disturbed",
            "teacher": {"model": str(self.teacher)},
            "data": {"prompts": {"uri": str(prompts)}},
            "distillation": {"guidance": {"scale": 1.5}},
            "training": {
                "iterations": self.iterations,
                "batchSize": 4,
                "learningRate": 1e-3,
                "precision": "fp32",
                "ema": {"halfLifeImages": 16},
            },
            "evaluation": {"everyIterations": 10_000, "prompts": ["one", "two"]},
            "checkpoint": {"everyIterations": self.every, "keepLast": KEEP},
            "storage": {"uri": f"s3://{BUCKET}/{prefix}", "endpoint": endpoint},
            "launch": {
                "device": "cpu",
                "nodes": self.nodes,
                "processesPerNode": RANKS // self.nodes,
                "progressPort": 0,
                "rendezvousPort": free_port(),
                "graceSeconds": 40,
            },
        }
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(sections))
        return file


@dataclass
class Result:
    """How a run went.

    Attributes:
        outcome: what it left.
        faults: that it met, by kind.
        starts: of pods.
        codes: with which pods ended that were replaced.
        looks: of the watcher.
        requests: that went through the proxy.
        seconds: that it took.
        problems: everything that must not be.
    """

    outcome: Outcome
    faults: Counter[Kind]
    starts: int
    codes: list[int]
    looks: int
    requests: int
    seconds: float
    problems: list[str] = field(default_factory=list)


def run_disturbed(
    shape: Shape,
    server: MinioServer,
    folder: Path,
    prefix: str,
    schedule: Schedule,
    starter: Starter,
) -> Result:
    """Run to the end, whatever the schedule does to it."""
    began = time.monotonic()
    bucket = Bucket(server.client(urllib3.PoolManager(timeout=10.0, retries=False)), prefix)
    assassin = Assassin(server)
    with FaultProxy(server.port, schedule, assassin.carry_out) as proxy, Watcher(bucket) as watcher:
        config = shape.config(folder, f"http://127.0.0.1:{proxy.port}", prefix)
        pods = assassin.pods = Pods(folder / "pods.log", config, shape.nodes, starter)
        try:
            pods.run(DEADLINE_SECONDS, most_starts=40)
        finally:
            pods.close()
            assassin.close()
    outcome = judge(bucket, shape.iterations, KEEP)
    uploads = [
        f"upload {each} is incomplete" for each in incomplete_uploads(server.folder / "data")
    ]
    return Result(
        outcome,
        proxy.faults,
        pods.starts,
        pods.codes,
        watcher.looks,
        proxy.requests,
        time.monotonic() - began,
        outcome.problems + watcher.problems + uploads,
    )


class Assassin:
    """Carries out what kills processes; called by the proxy.

    Args:
        server: the store, which is started again after the fault's seconds.
    """

    def __init__(self, server: MinioServer) -> None:
        self._server = server
        self._comeback: threading.Thread | None = None
        self.pods: Pods | None = None

    def carry_out(self, fault: Fault) -> bool:
        """Kill; whether there was something to."""
        if fault.kind is Kind.KILL_STORE:
            return self._kill_store(fault.seconds)
        kill = {
            Kind.KILL_RANK: Pods.kill_rank,
            Kind.KILL_POD: Pods.kill_pod,
            Kind.EVICT_POD: Pods.evict_pod,
        }[fault.kind]
        return self.pods is not None and kill(self.pods, fault.target)

    def _kill_store(self, seconds: float) -> bool:
        if self._comeback is not None and self._comeback.is_alive():
            return False
        self._server.stop()
        self._comeback = threading.Thread(target=self._bring_back, args=(seconds,))
        self._comeback.start()
        return True

    def _bring_back(self, seconds: float) -> None:
        time.sleep(seconds)  # the fault's own length
        self._server.start()

    def close(self) -> None:
        """Wait for the store."""
        if self._comeback is not None:
            self._comeback.join()


def table(faults: Mapping[Kind, int]) -> str:
    """Faults by kind."""
    width = max(len(kind) for kind in Kind)
    lines = [f"{kind:<{width}}  {faults.get(kind, 0):>4}" for kind in Kind]
    return "\n".join([*lines, f"{'all':<{width}}  {sum(faults.values()):>4}"])
