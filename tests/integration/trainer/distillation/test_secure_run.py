"""A whole run whose store speaks TLS under its own authority, by temporary keys of few rights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from sid_ranks import DEADLINE_SECONDS, PROMPTS

from sid_trainer.cli import main
from sid_trainer.contract import ExitCode
from sid_trainer.storage import Storage
from sid_trainer.storage.s3 import S3Storage
from tests.integration.trainer.secure_server import (
    REGION,
    authority,
    documented_policy,
    temporary,
    trusted,
)
from tests.minio_server import BUCKET, MinioServer

FOLDER = "team/whole-run"
"""Below what the documented policy opens; other tests have a folder beside it."""
TEAM = f"s3://{BUCKET}/{FOLDER}"


@pytest.fixture(scope="module")
def bucket(secure: MinioServer, tiny_sd3: Path) -> Storage:
    """The folder, with a teacher and prompts in it."""
    storage = S3Storage(BUCKET, FOLDER, trusted(secure), secure.environ)
    for file in tiny_sd3.rglob("*"):
        if file.is_file():
            storage.put_file(f"teacher/{file.relative_to(tiny_sd3).as_posix()}", file)
    storage.put_bytes("prompts.txt", "\n".join(PROMPTS).encode())
    return storage


@pytest.fixture(scope="module")
def trained(
    secure: MinioServer, bucket: Storage, tmp_path_factory: pytest.TempPathFactory
) -> Storage:
    """The same after a run of two iterations with a checkpoint each."""
    config: dict[str, Any] = {
        "name": "secure",
        "teacher": {"model": f"{TEAM}/teacher"},
        "data": {
            "prompts": {"uri": f"{TEAM}/prompts.txt"},
            "encodingCache": {"uri": f"{TEAM}/encodings"},
        },
        "training": {"iterations": 2, "batchSize": 2},
        "evaluation": {"prompts": PROMPTS[:1]},
        "checkpoint": {"everyIterations": 1, "keepLast": 2},
        "storage": {
            "uri": f"{TEAM}/run",
            "endpoint": secure.endpoint,
            "region": REGION,
            "caBundle": str(authority(secure)),
        },
        "launch": {"device": "cpu", "processesPerNode": 1, "progressPort": 0},
    }
    file = tmp_path_factory.mktemp("secure-run") / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    run = subprocess.run(
        [sys.executable, "-m", "sid_trainer", "train", "--config", str(file)],
        env=os.environ | temporary(secure, documented_policy()),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert run.returncode == ExitCode.DONE, run.stderr[-6000:]
    return bucket


def test_it_trains_from_there_and_exports_to_there(trained: Storage) -> None:
    keys = {found.key for found in trained.list()}
    assert {"run/student/model_index.json", "run/report.html"} <= keys
    assert any(key.startswith("encodings/") for key in keys)
    assert not trained.begun_uploads()


def test_its_checkpoints_are_listed_and_verified(
    secure: MinioServer,
    trained: Storage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in temporary(secure, documented_policy()).items():
        monkeypatch.setenv(name, value)
    bundle = ["--ca-bundle", str(authority(secure))]
    given = ["--storage", trained.uri("run"), "--endpoint", secure.endpoint, *bundle]
    assert main(["checkpoints", "ls", *given]) == ExitCode.DONE
    _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["2", "1"]
    assert main(["checkpoints", "verify", *given]) == ExitCode.DONE
    (part,) = (f.key for f in trained.list("run/checkpoints/iter-00000001/") if "rank-" in f.key)
    damaged = bytearray(trained.get_bytes(part))
    damaged[-5] ^= 1
    trained.put_bytes(part, bytes(damaged))
    assert main(["checkpoints", "verify", *given]) == ExitCode.DATA
    assert trained.uri(part) in capsys.readouterr().out
