"""One rank of the checkpoint benchmark: it stores and restores in turn with others' programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from sid_trainer.checkpoint.pruning import Pruner
from sid_trainer.checkpoint.shard import Shard
from sid_trainer.checkpoint.state import RankState
from sid_trainer.checkpoint.store import CheckpointStore
from sid_trainer.process.group import TorchGroup
from sid_trainer.storage import open_storage
from tests.bench.boto3_library import library
from tests.bench.resident import Peak, begin_peak, cpu_of, peak, resident
from tests.cluster.local.settings import default_paths
from tests.minio_server import BUCKET

TENSOR_BYTES = 8 * 2**20


class Found(NamedTuple):
    """One turn.

    Attributes:
        seconds: wall seconds until all ranks are done.
        cpu: CPU seconds of all ranks and their children.
        server: CPU seconds of the store.
        memory: bytes by which all of them grew at most.
    """

    seconds: float
    cpu: float
    server: float
    memory: float


class Elsewhere(NamedTuple):
    """What another process used: CPU seconds, and bytes of memory at most."""

    cpu: float = 0.0
    memory: int = 0


class Program(Protocol):
    """Who stores and restores; called on every rank."""

    def store(self, turn: int) -> Elsewhere:
        """Store this rank's bytes."""

    def restore(self, turn: int) -> Elsewhere:
        """Restore what was stored in this turn."""

    def clear(self, turn: int) -> None:
        """Remove it."""


def on_rank(
    device: str, endpoint: str, server: int, mc: str, folder: str, total: int, rounds: int
) -> dict[str, dict[str, list[Found]]]:
    """Take turns; the first of each is not counted."""
    del device
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    group = TorchGroup()
    state = _state(total // group.world_size, group.rank, group.world_size)
    place = Path(folder) / f"rank-{group.rank:05d}"
    programs: dict[str, Program] = {
        "ours": Ours(state, group, endpoint),
        "mc": Mc(mc, endpoint, Path(folder), group.rank),
        "boto3": Boto3(endpoint, place, group.rank),
    }
    _write(state, place / "part.safetensors")
    found: dict[str, dict[str, list[Found]]] = {
        what: {who: [] for who in programs} for what in ("store", "restore")
    }
    for turn in range(rounds + 1):
        for who, program in programs.items():
            stored = _timed(group, server, partial(program.store, turn))
            restored = _timed(group, server, partial(program.restore, turn))
            program.clear(turn)
            if turn:
                found["store"][who].append(stored)
                found["restore"][who].append(restored)
    torch.distributed.destroy_process_group()
    return found


class Ours:
    """The trainer's own, commit included."""

    def __init__(self, state: RankState, group: TorchGroup, endpoint: str) -> None:
        self._state = state
        self._storage = open_storage(f"s3://{BUCKET}/ours-{group.world_size}", endpoint)
        self._store = CheckpointStore(
            self._storage, group, {}, Pruner(self._storage, 1, keep_last=1)
        )
        self._first = group.rank == 0

    def store(self, turn: int) -> Elsewhere:
        """Upload and commit."""
        meta = self._state.meta | {"iteration": turn}
        self._store.save(RankState(self._state.tensors, meta), turn)
        return Elsewhere()

    def restore(self, turn: int) -> Elsewhere:
        """Download and verify."""
        resumed = self._store.resume()
        assert resumed is not None
        assert resumed.iteration == turn
        return Elsewhere()

    def clear(self, turn: int) -> None:
        """Nothing: storing the next one drops it."""


class Mc:
    """MinIO's own client; one process for all ranks' files."""

    def __init__(self, program: str, endpoint: str, folder: Path, rank: int) -> None:
        self._program, self._first = program, rank == 0
        self._source, self._copy = folder, folder / "mc"
        keys = f"{os.environ['AWS_ACCESS_KEY_ID']}:{os.environ['AWS_SECRET_ACCESS_KEY']}"
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "MC_HOST_store": endpoint.replace("://", f"://{keys}@"),
        }
        self._config = folder / "mc-config"

    def store(self, turn: int) -> Elsewhere:
        """Upload every rank's folder."""
        folders = [str(f) for f in sorted(self._source.glob("rank-*"))] if self._first else []
        return self._run("cp", "--recursive", *folders, f"store/{BUCKET}/mc/{turn}/")

    def restore(self, turn: int) -> Elsewhere:
        """Download them."""
        return self._run("cp", "--recursive", f"store/{BUCKET}/mc/{turn}/", f"{self._copy}/")

    def clear(self, turn: int) -> None:
        """Remove both."""
        self._run("rm", "--recursive", "--force", f"store/{BUCKET}/mc/{turn}/")
        if self._first:
            shutil.rmtree(self._copy)

    def _run(self, *arguments: str) -> Elsewhere:
        if not self._first:
            return Elsewhere()
        command = [self._program, "--quiet", "--config-dir", str(self._config), *arguments]
        with subprocess.Popen(
            command, env=self._environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            assert process.stderr is not None
            with Peak(process.pid) as peak:
                said = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(said.decode(errors="replace"))
        return Elsewhere(usage.ru_utime + usage.ru_stime, peak.bytes)


class Boto3:
    """boto3's transfer manager, a process a rank."""

    def __init__(self, endpoint: str, folder: Path, rank: int) -> None:
        sys.path.insert(0, str(library(default_paths().cache)))
        import boto3  # noqa: PLC0415 - it is there only now

        self._client: Any = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        self._file, self._copy = folder / "part.safetensors", folder / "copy"
        self._rank = rank

    def store(self, turn: int) -> Elsewhere:
        """Upload this rank's file."""
        self._client.upload_file(str(self._file), BUCKET, self._key(turn))
        return Elsewhere()

    def restore(self, turn: int) -> Elsewhere:
        """Download it."""
        self._client.download_file(BUCKET, self._key(turn), str(self._copy))
        return Elsewhere()

    def clear(self, turn: int) -> None:
        """Remove both."""
        self._client.delete_object(Bucket=BUCKET, Key=self._key(turn))
        self._copy.unlink()

    def _key(self, turn: int) -> str:
        return f"boto3/{turn}/{self._rank}"


def _state(size: int, rank: int, world: int) -> RankState:
    """Random tensors, which nothing compresses."""
    generator = torch.Generator().manual_seed(rank)
    count = max(1, size // TENSOR_BYTES)
    tensors = {
        f"student/weight/{place:03d}": torch.randn(size // count // 4, generator=generator)
        for place in range(count)
    }
    return RankState(tensors, {"rank": rank, "worldSize": world})


def _write(state: RankState, file: Path) -> None:
    file.parent.mkdir(parents=True)
    with file.open("wb") as target:
        target.writelines(Shard(state).buffers)


def _timed(group: TorchGroup, server: int, work: Callable[[], Elsewhere]) -> Found:
    """Do it on all ranks at once."""
    group.all_gather(None)
    before = resident()
    begin_peak()
    served, used, began = cpu_of(server), time.process_time(), time.perf_counter()
    elsewhere = work()
    group.all_gather(None)
    seconds = time.perf_counter() - began
    mine = (time.process_time() - used + elsewhere.cpu, peak() - before + elsewhere.memory)
    cpu, memory = zip(*group.all_gather(mine), strict=True)
    return Found(seconds, sum(cpu), cpu_of(server) - served, sum(memory))
