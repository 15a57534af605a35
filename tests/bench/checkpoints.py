"""Storing and restoring checkpoints, against MinIO's own client and boto3 on the same bytes.

All three use one MinIO on this machine and take turns in one run, so that each meets the same load.
Ours stores out of the tensors' memory and restores into it, verifying every byte; the others move
files that lie in memory (tmpfs), and verify nothing end to end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

from tests.bench import ranks
from tests.bench.report import Section, Spread
from tests.bench.stores import a_store
from tests.bench.transfers import Found
from tests.cluster.local.golang import MC, binaries
from tests.cluster.local.settings import default_paths
from tests.minio_server import MinioServer

WORLDS = (1, 2, 4)
TOTAL_BYTES = 256 * 2**20
SHM = Path("/dev/shm")


def section(device: str, rounds: int) -> Section:
    """Measure every number of ranks."""
    program = str(binaries(default_paths().cache, MC) / "mc")
    with a_store() as server:
        rows = [
            row
            for world in WORLDS
            for row in _rows(world, _measure(device, world, server, program, rounds))
        ]
    return Section(
        "Checkpoints",
        f"{TOTAL_BYTES / 2**20:.0f} MiB over all ranks, stored and restored by each program in "
        "turn, in one MinIO on the same machine and disk. `mc cp --recursive` is one process, "
        "boto3's transfer manager and ours run in a process a rank. Ours stores out of the "
        "snapshot's memory, commits, and verifies every byte that it restores; the others move "
        "files of a tmpfs.",
        (
            "what",
            "ranks",
            "GB/s: ours, mc, boto3",
            "ours / mc",
            "ours / boto3",
            "CPU s a GB: ours, mc, boto3",
            "server's CPU s a GB",
            "extra memory: ours, mc, boto3",
        ),
        rows,
        (
            "Server's CPU time is for ours, mc and boto3. Extra memory is what the processes grow "
            "by at most, over the bytes: for ours beyond the snapshot when storing, and with the "
            "restored tensors when restoring; for mc its whole process.",
        ),
    )


def _measure(
    device: str, world: int, server: MinioServer, program: str, rounds: int
) -> dict[str, dict[str, list[Found]]]:
    assert server.process is not None
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        raw = ranks.run(
            "transfers",
            device,
            world,
            endpoint=server.endpoint,
            server=server.process.pid,
            mc=program,
            folder=folder,
            total=TOTAL_BYTES,
            rounds=rounds,
        )
    return {
        what: {who: [Found(*each) for each in found] for who, found in by.items()}
        for what, by in raw.items()
    }


def _rows(world: int, measured: dict[str, dict[str, list[Found]]]) -> Iterator[list[str]]:
    for what, found in measured.items():
        seconds = {who: [each.seconds for each in turns] for who, turns in found.items()}
        ratios = [
            str(Spread([t / o for t, o in zip(seconds[who], seconds["ours"], strict=True)]))
            for who in ("mc", "boto3")
        ]
        turns = list(found.values())
        gigabytes = TOTAL_BYTES / 1e9
        yield [
            what,
            str(world),
            _listed(gigabytes / median(each.seconds for each in one) for one in turns),
            *ratios,
            _listed(median(each.cpu for each in one) / gigabytes for one in turns),
            _listed(median(each.server for each in one) / gigabytes for one in turns),
            _listed(max(each.memory for each in one) / TOTAL_BYTES for one in turns),
        ]


def _listed(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:.2f}" for number in numbers)
