"""The judge sees what is wrong; else its silence would mean nothing."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable

import pytest
import torch
import xxhash
from minio import Minio
from safetensors.torch import save

from tests.integration.trainer.faults.judge import (
    BUCKET,
    Bucket,
    Outcome,
    differences,
    incomplete_uploads,
    judge,
)
from tests.minio_server import MinioServer

Break = Callable[["Run"], None]


class Run:
    """A finished run of two iterations and one rank, written by hand."""

    def __init__(self, client: Minio, prefix: str) -> None:
        self._client, self._prefix = client, prefix
        self.bucket = Bucket(client, prefix)
        self.part = save({"weight": torch.ones(4)})
        self.put("checkpoints/iter-00000002/attempt-0001/rank-00000.safetensors", self.part)
        self.commit(2)
        self.put("metrics/attempt-0001/part-00000.jsonl", line(1) + line(2))
        self.put("student/model.safetensors", self.part)

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(BUCKET, f"{self._prefix}/{key}", io.BytesIO(data), len(data))

    def remove(self, key: str) -> None:
        self._client.remove_object(BUCKET, f"{self._prefix}/{key}")

    def commit(self, iteration: int, *, world: int = 1) -> None:
        part = {
            "key": "attempt-0001/rank-00000.safetensors",
            "size": len(self.part),
            "checksum": f"xxh3-128:{xxhash.xxh3_128_hexdigest(self.part)}",
        }
        manifest = {"iteration": iteration, "worldSize": world, "parts": [part]}
        key = f"checkpoints/iter-{iteration:08d}/manifest.json"
        self.put(key, json.dumps(manifest).encode())


def line(iteration: int, loss: float = 0.5) -> bytes:
    return json.dumps({"iteration": iteration, "generatorLoss": loss}).encode() + b"\n"


@pytest.fixture
def run(minio: MinioServer, prefix: str) -> Run:
    return Run(minio.client(), prefix)


PART = "checkpoints/iter-00000002/attempt-0001/rank-00000.safetensors"
BROKEN: dict[str, tuple[Break, str]] = {
    "a part is missing": (lambda run: run.remove(PART), "is missing"),
    "a part is cut": (lambda run: run.put(PART, run.part[:-1]), " B"),
    "a bit is flipped": (
        lambda run: run.put(PART, run.part[:-1] + bytes([run.part[-1] ^ 1])),
        "another checksum",
    ),
    "a rank is missing": (lambda run: run.commit(2, world=2), "1 parts of 2 ranks"),
    "a dead attempt's part": (
        lambda run: run.put(PART.replace("attempt-0001", "attempt-0000"), b""),
        "left over",
    ),
    "an unknown object": (lambda run: run.put("scratch/x", b""), "scratch/x is left over"),
    "an iteration is not told": (
        lambda run: run.put("metrics/attempt-0001/part-00000.jsonl", line(2)),
        "not of 1 to 2",
    ),
    "attempts tell different losses": (
        lambda run: run.put("metrics/attempt-0002/part-00000.jsonl", line(2, 0.6)),
        "where another attempt told",
    ),
    "training ended early": (
        lambda run: (run.commit(1), run.remove("checkpoints/iter-00000002/manifest.json"))[0],
        "the newest checkpoint is of iteration 1",
    ),
    "too many are kept": (lambda run: run.commit(1), "2 checkpoints were kept in place of 1"),
}


def test_a_sound_run_has_no_problems(run: Run) -> None:
    assert judge(run.bucket, iterations=2, keep=1).problems == []


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_seen(run: Run, name: str) -> None:
    breaks, told = BROKEN[name]
    breaks(run)
    problems = judge(run.bucket, iterations=2, keep=1).problems
    assert any(told in problem for problem in problems), problems


def test_a_difference_is_seen(run: Run) -> None:
    found = judge(run.bucket, iterations=2, keep=1)
    assert differences(found, found) == []
    others: list[Outcome] = [
        dataclasses.replace(found, losses={**found.losses, 2: {"generatorLoss": 0.5000001}}),
        dataclasses.replace(found, student={**found.student, "student/more": ""}),
        dataclasses.replace(found, state=["0" * 64]),
    ]
    assert [len(differences(found, other)) for other in others] == [1, 1, 1]


def test_an_unfinished_upload_is_seen(minio_factory: Callable[[], MinioServer]) -> None:
    server = minio_factory()
    client = server.client()
    data = server.folder / "data"
    assert incomplete_uploads(data) == []
    upload = client._create_multipart_upload(BUCKET, "run/object", {})
    client._upload_part(BUCKET, "run/object", b"x" * 6, None, upload, 1)
    assert len(incomplete_uploads(data)) == 1
    client._abort_multipart_upload(BUCKET, "run/object", upload)
    assert incomplete_uploads(data) == []
