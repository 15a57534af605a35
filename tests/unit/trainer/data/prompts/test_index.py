"""Prompts of files, folders and patterns, indexed on disk once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sid_trainer.config import PromptsConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.prompts import PromptIndex, check_prompts, open_prompts
from sid_trainer.data.prompts.consistency import require_same_prompts, tell_other_prompts
from sid_trainer.data.prompts.hub import HubAddress, parse_hub
from sid_trainer.data.prompts.index import MAX_DIFFERENT, write_index
from sid_trainer.data.prompts.sources import select


def opened(uri: Path | str, cache: Path, column: str | None = None) -> PromptIndex:
    return open_prompts(PromptsConfig(uri=str(uri), column=column), None, cache)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "more").mkdir(parents=True)
    (folder / "b.txt").write_text("b1\nb2\n")
    (folder / "a.csv").write_text("caption\na1\n")
    (folder / "more" / "c.jsonl").write_text('{"text": "c1"}\n')
    (folder / "README").write_text("not a prompt\n")
    (folder / "shard-1.tar").write_text("not a prompt\n")
    return folder


def test_a_file_a_folder_and_a_pattern(folder: Path, tmp_path: Path) -> None:
    assert list(opened(folder / "b.txt", tmp_path)) == ["b1", "b2"]
    assert list(opened(folder, tmp_path)) == ["a1", "b1", "b2", "c1"]
    assert list(opened(f"{folder}/", tmp_path)) == ["a1", "b1", "b2", "c1"]
    assert list(opened(f"{folder}/[ab].*", tmp_path)) == ["a1", "b1", "b2"]
    assert list(opened(f"file://{folder}/README", tmp_path)) == ["not a prompt"]
    for uri in (folder, folder / "b.txt", f"{folder}/*.csv"):
        check_prompts(PromptsConfig(uri=str(uri)))


def test_prompts_are_numbered(folder: Path, tmp_path: Path) -> None:
    prompts = opened(folder, tmp_path)
    assert len(prompts) == 4
    assert [prompts[3], prompts[0]] == ["c1", "a1"]
    for number in (4, -1):
        with pytest.raises(IndexError):
            prompts[number]


def test_the_index_is_made_once_and_anew_when_a_file_changes(folder: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(lambda _: opened(folder, tmp_path), range(4))
    assert len(list((tmp_path / "prompts").glob("*/index.json"))) == 1
    assert {other.fingerprint for other in others} == {first.fingerprint}
    (folder / "b.txt").write_text("b1\nb3\n")
    changed = opened(folder, tmp_path)
    assert list(changed) == ["a1", "b1", "b3", "c1"]
    assert changed.fingerprint != first.fingerprint
    assert list(first) == ["a1", "b1", "b2", "c1"]


def test_an_index_that_was_not_finished_is_begun_anew(folder: Path, tmp_path: Path) -> None:
    bad = folder / "z.jsonl"
    bad.write_text("{")
    with pytest.raises(TrainerError, match=rf"line 1 of {bad} is no JSON"):
        opened(folder, tmp_path)
    assert (next((tmp_path / "prompts").glob("*.partial")) / "text").exists()
    (partial,) = (tmp_path / "prompts").glob("*.partial")
    bad.unlink()
    partial.rename(partial.with_name("other"))
    assert len(opened(folder, tmp_path)) == 4


def test_different_prompts_are_known_when_they_are_few(tmp_path: Path) -> None:
    write_index(tmp_path / "few", ["b", "a", "b", "a", "c"])
    assert PromptIndex(tmp_path / "few").different == ["b", "a", "c"]
    write_index(tmp_path / "many", map(str, range(MAX_DIFFERENT + 1)))
    assert PromptIndex(tmp_path / "many").different is None


def test_offsets_are_written_in_pieces(tmp_path: Path) -> None:
    texts = ["é" * (i % 3) + str(i) for i in range(70_000)]
    assert write_index(tmp_path / "i", texts) == 70_000
    assert list(PromptIndex(tmp_path / "i")) == texts


@pytest.mark.parametrize(
    ("name", "content", "reason", "message"),
    [
        ("p.txt", "\n \n", FailureReason.INVALID_DATA, "p.txt has no prompts"),
        ("p.csv", "text\n", FailureReason.INVALID_DATA, "p.csv has no prompts"),
        ("p.json", "[]", FailureReason.INVALID_CONFIGURATION, "has the suffix .json"),
    ],
)
def test_files_without_prompts_are_refused(
    tmp_path: Path, name: str, content: str, reason: FailureReason, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TrainerError, match=message) as refused:
        opened(tmp_path / name, tmp_path / "cache")
    assert refused.value.reason is reason
    assert not list((tmp_path / "cache").glob("prompts/*/index.json"))


@pytest.mark.parametrize("uri", ["none.txt", "no/such/p.txt", "*.parquet", "empty"])
def test_what_is_not_there_is_named(tmp_path: Path, uri: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").touch()
    for use in (check_prompts, open_prompts):
        with pytest.raises(TrainerError, match="does not exist") as refused:
            use(PromptsConfig(uri=f"{tmp_path}/{uri}"))
        assert refused.value.reason is FailureReason.NOT_FOUND
        assert f"{tmp_path}/{uri}" in str(refused.value)


def test_a_folder_without_its_slash_is_told() -> None:
    with pytest.raises(TrainerError, match="it is a folder: end the address with /"):
        select(["prompts/a.txt"], "prompts", "s3://bucket/prompts")


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("hf://datasets/o/n/a.csv", HubAddress("o/n", None, "a.csv")),
        ("hf://datasets/o/n@v1/d/*.parquet", HubAddress("o/n", "v1", "d/*.parquet")),
        ("hf://datasets/o/n@refs%2Fpr%2F1/", HubAddress("o/n", "refs/pr/1", "")),
        ("hf://datasets/o/n@~parquet/", HubAddress("o/n", "refs/convert/parquet", "")),
    ],
)
def test_addresses_of_the_hub(uri: str, address: HubAddress) -> None:
    assert parse_hub(uri) == address
    check_prompts(PromptsConfig(uri=uri))  # and nobody is asked


@pytest.mark.parametrize(
    "uri", ["hf://o/n/a.csv", "hf://datasets/n/a.csv", "hf://datasets/o/n", "hf://datasets/o/n@/a"]
)
def test_other_addresses_of_the_hub_are_refused(uri: str) -> None:
    with pytest.raises(TrainerError, match="give hf://datasets/OWNER/NAME/PATH") as refused:
        check_prompts(PromptsConfig(uri=uri))
    assert refused.value.reason is FailureReason.INVALID_CONFIGURATION


def test_looking_for_inputs_needs_no_torch() -> None:
    program = "import sys; import sid_trainer.launch.preflight; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


class Ranks:
    """A group whose other rank has a value of its own."""

    rank, world_size = 0, 2

    def __init__(self, other: str) -> None:
        self._other = other

    def all_gather(self, value: Any) -> list[Any]:
        return [value, self._other]


def test_ranks_and_attempts_have_the_same_prompts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_index(tmp_path / "a", ["a", "bc"])
    write_index(tmp_path / "b", ["ab", "c"])
    prompts, others = PromptIndex(tmp_path / "a"), PromptIndex(tmp_path / "b")
    require_same_prompts(Ranks(prompts.fingerprint), prompts)
    with pytest.raises(TrainerError, match="its nodes read different prompts") as refused:
        require_same_prompts(Ranks(others.fingerprint), prompts)
    assert refused.value.reason is FailureReason.STORAGE_UNAVAILABLE
    for meta in ({}, {"prompts": prompts.fingerprint}):
        tell_other_prompts(meta, prompts)
    assert not caplog.records
    tell_other_prompts({"prompts": others.fingerprint}, prompts)
    assert "holds other prompts than when the checkpoint was made" in caplog.text


def test_what_may_not_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read anyway
    for _ in range(2):
        with pytest.raises(TrainerError, match=f"{folder}/.* may not be read by user") as refused:
            check_prompts(PromptsConfig(uri=f"{folder}/b.txt"))
        assert refused.value.reason is FailureReason.ACCESS_DENIED
        monkeypatch.setattr(Path, "is_dir", denied)
