"""Starts pods as forks of one process that has imported everything: most of a tiny rank's work.

A pod is a process with two ranks below it; it ends as the launcher does: by the cause of the rank
that failed first, and on SIGTERM with 143, after the ranks were asked for a last checkpoint.

Argument: the teacher's directory. Each line of the input is a configuration file, the pod's log and
its number; the output tells ``started NUMBER PID`` and ``ended NUMBER CODE``.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from diffusers import StableDiffusion3Pipeline

from sid_trainer.config.file import load_config
from sid_trainer.contract import GANG_VARIABLE, PERMANENT_EXIT_CODES
from sid_trainer.launch import processes
from sid_trainer.process.ending import end_with
from sid_trainer.process.run_directory import RUN_DIRECTORY, RunDirectory
from sid_trainer.training import run
from sid_trainer.training.worker import work
from tests.integration.trainer.faults.worker import cut_to_size
from tests.loopback import free_port

GRACE_SECONDS = 60.0


def main() -> None:
    cut_to_size()
    StableDiffusion3Pipeline.from_pretrained(sys.argv[1])
    assert run.train  # imported, with all that it needs
    pods: dict[int, str] = {}
    while True:
        if select.select([sys.stdin], [], [], 0.05)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            config, log, number = line.split()
            pid = os.fork()
            if not pid:
                pod(Path(config), Path(log))
            pods[pid] = number
            print(f"started {number} {pid}", flush=True)
        for pid, code in processes.reap().items():
            print(f"ended {pods.pop(pid)} {code}", flush=True)


def pod(config: Path, log: Path) -> NoReturn:
    """Be a pod."""
    os.setsid()
    processes.take_charge()
    with log.open("ab") as target:
        os.dup2(target.fileno(), 1)
        os.dup2(target.fileno(), 2)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            RUN_DIRECTORY: folder,
            GANG_VARIABLE: "gang",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
        }
        code = supervise(config, RunDirectory(Path(folder)))
    os._exit(code)


def supervise(config: Path, directory: RunDirectory) -> int:
    """Run all ranks to their end; return the pod's exit code."""
    world = load_config(config).launch.world_size
    alive = {fork_rank(config, rank, world) for rank in range(world)}
    codes: list[int] = []
    deadline = None
    while alive and not any(codes):
        received = signal.sigtimedwait({signal.SIGTERM, signal.SIGCHLD}, 0.2)
        if received is not None and received.si_signo == signal.SIGTERM and deadline is None:
            deadline = time.monotonic() + GRACE_SECONDS
            directory.request_stop()
        if deadline is not None and time.monotonic() > deadline:
            break
        ended = processes.reap()
        alive -= ended.keys()
        codes += ended.values()
    processes.kill_descendants()
    if deadline is not None and (alive or any(codes)):
        return 143
    permanent = [code for code in codes if code in PERMANENT_EXIT_CODES]
    return permanent[0] if permanent else int(any(codes))


def fork_rank(config: Path, rank: int, world: int) -> int:
    """Start a rank; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
    }
    code = 1
    try:
        code = work(config)
    finally:
        end_with(code)


if __name__ == "__main__":
    main()
