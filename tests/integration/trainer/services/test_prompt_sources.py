"""Prompts and their encodings in a real MinIO, and prompts of the Hub's real client."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import torch

from sid_trainer.config import PromptsConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.encoding_cache import CachedEncoder
from sid_trainer.data.encoding_folder import check_cache, open_cache
from sid_trainer.data.prompts import PromptIndex, check_prompts, open_prompts
from sid_trainer.method.conditions import Condition
from tests.integration.trainer.hub_server import hub_server

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ERRORS = {
    404: {"X-Error-Code": "RepoNotFound"},
    403: {"X-Error-Code": "GatedRepo"},
    401: {"X-Error-Message": "Invalid credentials in Authorization header"},
}


@pytest.fixture
def endpoint(minio: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in minio.environ.items():
        monkeypatch.setenv(name, value)
    return minio.endpoint


@pytest.fixture
def folder(minio: Any, endpoint: str, prefix: str) -> Any:
    storage = minio.storage(prefix)
    storage.put_bytes("a.csv", b"caption\na1\n")
    storage.put_bytes("b.txt.gz", gzip.compress(b"b1\nb2\n"))
    storage.put_bytes("more/c.jsonl", b'{"text": "c1"}\n')
    storage.put_bytes("more/readme.md", b"not a prompt\n")
    return storage


def test_a_file_a_folder_and_a_pattern_in_a_bucket(
    folder: Any, endpoint: str, tmp_path: Path
) -> None:
    def prompts(uri: str) -> list[str]:
        check_prompts(PromptsConfig(uri=uri), endpoint)
        return list(open_prompts(PromptsConfig(uri=uri), endpoint, tmp_path))

    assert prompts(folder.uri("b.txt.gz")) == ["b1", "b2"]
    assert prompts(f"{folder.uri()}/") == ["a1", "b1", "b2", "c1"]
    assert prompts(f"{folder.uri()}/?.*") == ["a1", "b1", "b2"]
    folder.put_bytes("a.csv", b"caption\na2\n")
    assert prompts(f"{folder.uri()}/") == ["a2", "b1", "b2", "c1"]
    kept = {path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert kept == {"text", "offsets", "index.json"}, "downloads are gone"


def test_what_is_not_in_the_bucket_is_named(folder: Any, endpoint: str) -> None:
    for uri, message in [
        (folder.uri("none.txt"), "none.txt does not exist: upload it there"),
        (folder.uri("b.txt"), "b.txt does not exist: upload it there"),
        (folder.uri("more"), "it is a folder: end the address with /"),
        (folder.uri("*.parquet"), "does not exist"),
        (folder.uri("none") + "/", "put .txt, .jsonl, .csv, .tsv or .parquet files there"),
        ("s3://nowhere/p.txt", "nowhere"),
    ]:
        with pytest.raises(TrainerError) as refused:
            check_prompts(PromptsConfig(uri=uri), endpoint)
        assert refused.value.reason is FailureReason.NOT_FOUND
        assert message in str(refused.value)
    for uri, message in [
        (folder.uri("more/readme.md"), "has the suffix .md"),
        ("s3://bucket", "names no object: give s3://bucket/key"),
    ]:
        with pytest.raises(TrainerError, match=message) as wrong:
            check_prompts(PromptsConfig(uri=uri), endpoint)
        assert wrong.value.reason is FailureReason.INVALID_CONFIGURATION


def test_encodings_are_kept_in_a_bucket(minio: Any, endpoint: str, prefix: str) -> None:
    uri = minio.storage(prefix).uri()
    check_cache(uri, endpoint)
    visits: list[list[str]] = []

    def encode(prompts: Sequence[str]) -> Condition:
        visits.append(list(prompts))
        return Condition({"text": torch.tensor([[float(p)] for p in prompts]).bfloat16()})

    for prompts in (["1", "2"], ["2", "3", "1"], ["3"]):
        cached = CachedEncoder(open_cache(uri, endpoint), {"family": "sd3"}, encode)
        assert cached(prompts).tensors["text"][:, 0].tolist() == [float(p) for p in prompts]
    assert visits == [["1", "2"], ["3"]]
    with pytest.raises(TrainerError, match="nowhere") as refused:
        check_cache("s3://nowhere/cache", endpoint)
    assert refused.value.reason is FailureReason.NOT_FOUND


@dataclass
class Hub:
    """As much of the Hub's HTTP interface as its client uses for files of a dataset."""

    files: dict[str, bytes]
    status: int = 200
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if "/datasets/o/n" not in handler.path:
            return 404, {}, b"{}"  # the client looks who uses it
        self.requests.append((handler.path, handler.headers.get("Authorization")))
        if self.status != 200:
            return self.status, ERRORS.get(self.status, {}), b"{}"
        if handler.path.startswith("/api/datasets/o/n"):
            if "/revision/none" in handler.path:
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            siblings = [{"rfilename": name} for name in self.files]
            info = {"id": "o/n", "_id": "1", "sha": COMMIT, "siblings": siblings}
            return 200, {"Content-Type": "application/json"}, json.dumps(info).encode()
        name = handler.path.partition(f"/datasets/o/n/resolve/{COMMIT}/")[2]
        data = self.files[name]
        return 200, {"ETag": f'"{len(data)}"', "X-Repo-Commit": COMMIT}, data


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub({"a.csv": b"text\na1\n", "d/b.txt": b"b1\n", "d/c.txt": b"c1\n", "x.py": b""})
    with hub_server(state.answer):
        yield state


def from_hub(path: str, cache: Path) -> PromptIndex:
    return open_prompts(PromptsConfig(uri=f"hf://datasets/o/n{path}"), None, cache)


def test_prompts_of_a_dataset(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(from_hub("@v1/a.csv", tmp_path)) == ["a1"]
    assert list(from_hub("/d/*.txt", tmp_path)) == ["b1", "c1"]
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert list(from_hub("/", tmp_path)) == ["a1", "b1", "c1"]
    assert hub.requests[0] == ("/api/datasets/o/n/revision/v1", None)
    assert hub.requests[-1][1] == "Bearer secret"
    assert not [path for path, _ in hub.requests if "x.py" in path]
    asked = len(hub.requests)
    assert list(from_hub("/d/*.txt", tmp_path)) == ["b1", "c1"]
    assert len(hub.requests) == asked + 1, "the second time only the commit is asked for"


def test_refusals_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    for path, status, reason, message in [
        ("/none.txt", 200, FailureReason.NOT_FOUND, "none.txt does not exist"),
        ("@none/a.csv", 200, FailureReason.NOT_FOUND, "correct the revision after @"),
        ("/a.csv", 404, FailureReason.NOT_FOUND, "correct the id, or give a token that may"),
        ("/a.csv", 403, FailureReason.ACCESS_DENIED, "is gated: accept its terms"),
        ("/a.csv", 401, FailureReason.ACCESS_DENIED, "the token is wrong or has expired; give a"),
        ("/a.csv", 410, FailureReason.STORAGE_UNAVAILABLE, "HTTP 410.: try again later"),
    ]:
        hub.status = status
        with pytest.raises(TrainerError, match=message) as refused:
            from_hub(path, tmp_path)
        assert refused.value.reason is reason
        assert f"hf://datasets/o/n{path}" in str(refused.value)
