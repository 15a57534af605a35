"""Encodings that are kept for other runs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data import encoding_entry
from sid_trainer.data.encoding_cache import MAX_ENTRY, THREADS, CachedEncoder
from sid_trainer.data.encoding_folder import check_cache, open_cache
from sid_trainer.storage import FileStorage
from tests.unit.trainer.data.encoders import IDENTITY, Encoder, numbered


def test_a_cache_serves_other_runs(tmp_path: Path) -> None:
    first, second = Encoder(), Encoder()
    storage = open_cache(str(tmp_path / "cache"))
    CachedEncoder(storage, IDENTITY, first)(["1", "2", "1"])
    found = CachedEncoder(storage, IDENTITY, second)(["3", "2", "1", "3"])
    assert found.tensors["text"].tolist() == [[3.0], [2.0], [1.0], [3.0]]
    assert (first.visits, second.visits) == ([["1", "2"]], [["3"]])
    other = Encoder(offset=0.5)
    identity = IDENTITY | {"family": "flux"}
    assert CachedEncoder(storage, identity, other)(["1"]).tensors["text"].item() == 1.5


def test_a_collision_of_names_gives_nobody_the_wrong_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sid_trainer.data.encoding_cache.entry_key", lambda *_: "00/same.safetensors"
    )
    storage = open_cache(str(tmp_path))
    for prompts in (["1", "2", "3"], ["3", "1"], ["2"]):
        found = CachedEncoder(storage, IDENTITY, Encoder())(prompts)
        assert found.tensors["text"][:, 0].tolist() == [float(prompt) for prompt in prompts]


def test_a_damaged_encoding_is_told_and_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = open_cache(str(tmp_path))
    CachedEncoder(storage, IDENTITY, Encoder())(["1"])
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    encoder = Encoder()
    for _ in range(2):
        assert CachedEncoder(storage, IDENTITY, encoder)(["1"]).tensors["text"].item() == 1.0
    assert encoder.visits == [["1"]]
    assert f"{file.as_uri()} is damaged: its checksum is wrong" in caplog.text


class AwayCache(FileStorage):
    """A folder of a store that does not answer, and counts how often it is asked."""

    away = True

    def __init__(self, path: Path, reading: bool, reason: FailureReason) -> None:
        super().__init__(path)
        self.asked, self._reads, self._reason = 0, reading, reason

    def get_bytes(self, key: str, max_bytes: int = MAX_ENTRY) -> bytes:
        self._answer(self._reads)
        return super().get_bytes(key, max_bytes)

    def put_bytes(
        self, key: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> None:
        self._answer(True)
        super().put_bytes(key, data, content_type)

    def _answer(self, concerned: bool) -> None:
        if self.away and concerned:
            self.asked += 1
            raise TrainerError(self._reason, "no answer")


@pytest.mark.parametrize("reading", [True, False])
def test_a_run_goes_on_without_a_cache_that_does_not_answer(
    reading: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = AwayCache(tmp_path, reading, FailureReason.STORAGE_UNAVAILABLE)
    encoder = Encoder()
    encode = CachedEncoder(storage, IDENTITY, encoder)
    assert encode(numbered(100)).tensors["text"][:, 0].tolist() == [*map(float, range(100))]
    assert encoder.visits == [numbered(100)]
    assert storage.asked <= THREADS, "not each prompt waits for the store"
    assert caplog.text.count("no answer") == 1
    storage.away = False  # the next visit finds it again
    encode(["1"])
    assert [*tmp_path.rglob("*.safetensors")]


def test_a_cache_that_refuses_is_told(tmp_path: Path) -> None:
    storage = AwayCache(tmp_path, True, FailureReason.ACCESS_DENIED)
    with pytest.raises(TrainerError, match="no answer"):
        CachedEncoder(storage, IDENTITY, Encoder())(["1"])


def test_writers_of_the_same_encodings_do_not_disturb_one_another(tmp_path: Path) -> None:
    def work(_: int) -> list[list[float]]:
        encode = CachedEncoder(open_cache(str(tmp_path)), IDENTITY, Encoder())
        return encode(numbered(20)).tensors["text"].tolist()

    with ThreadPoolExecutor(4) as pool:
        assert all(found == [[float(i)] for i in range(20)] for found in pool.map(work, range(8)))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 20
    assert not list(tmp_path.rglob(".part-*"))


def test_a_new_form_reuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_cache(str(tmp_path))
    CachedEncoder(storage, IDENTITY, Encoder())(["1"])
    monkeypatch.setattr(encoding_entry, "FORMAT", encoding_entry.FORMAT + 1)
    encoder = Encoder()
    CachedEncoder(storage, IDENTITY, encoder)(["1"])
    assert encoder.given == ["1"]


def test_a_cache_that_cannot_be_written_is_refused_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_cache(str(tmp_path / "new" / "folder"))
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anyway
    with pytest.raises(TrainerError, match=f"{tmp_path} belongs to others or .* read-only") as no:
        check_cache(str(tmp_path / "new" / "folder"))
    assert no.value.reason is FailureReason.ACCESS_DENIED
