"""Parts of the benchmark in processes of their own: fresh memory, one rank or several.

Run as a program it is such a process: ``python -m tests.bench.ranks PART ARGUMENTS RESULT``.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sid_trainer.process.ending import end_with
from tests.loopback import free_port

DEADLINE_SECONDS = 1800
ROOT = Path(__file__).resolve().parents[2]


def run(part: str, device: str, processes: int = 1, **arguments: Any) -> Any:
    """What ``tests.bench.PART.on_rank(device=..., **arguments)`` returns on rank 0.

    Raises:
        RuntimeError: with the last of what a failed rank said.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        port = str(free_port())
        ranks = [
            _start(part, device, rank, processes, port, place, arguments)
            for rank in range(processes)
        ]
        try:
            codes = [rank.wait(DEADLINE_SECONDS) for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
        for rank, code in enumerate(codes):
            if code:
                said = (place / f"{rank}.log").read_text(errors="replace")[-4000:]
                raise RuntimeError(f"{part} ended with {code} on rank {rank}:\n{said}")
        return json.loads((place / "result.json").read_text())


def _start(
    part: str,
    device: str,
    rank: int,
    processes: int,
    port: str,
    place: Path,
    arguments: dict[str, Any],
) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "DS_ACCELERATOR": device,
        "OMP_NUM_THREADS": "1",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-m", "tests.bench.ranks", part]
    given = json.dumps({"device": device, **arguments})
    with (place / f"{rank}.log").open("wb") as log:
        return subprocess.Popen(
            [*command, given, str(place / "result.json")],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def main() -> None:
    """Be a rank."""
    part, given, result = sys.argv[1:]
    found = importlib.import_module(f"tests.bench.{part}").on_rank(**json.loads(given))
    if os.environ["RANK"] == "0":
        Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
    end_with(0)
