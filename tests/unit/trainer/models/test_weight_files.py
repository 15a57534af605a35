"""Weights of a network by name, and what is said of files that are not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sid_trainer.contract import EXIT_CODE_OF, PERMANENT_EXIT_CODES, FailureReason, TrainerError
from sid_trainer.models.weight_files import WeightFiles

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
SINGLE = "diffusion_pytorch_model.safetensors"
SHAPE = torch.Size([3, 4])


@pytest.fixture
def single(tmp_path: Path) -> Path:
    save_file({"a": torch.ones(SHAPE)}, tmp_path / SINGLE)
    return tmp_path / SINGLE


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A folder of two files, with an index."""
    names = {"a": "1.safetensors", "b": "2.safetensors"}
    for number, (tensor, file) in enumerate(names.items()):
        save_file({tensor: torch.full(SHAPE, float(number))}, tmp_path / file)
    (tmp_path / f"{SINGLE}.index.json").write_text(json.dumps({"weight_map": names}))
    return tmp_path


def read(folder: Path, name: str) -> torch.Tensor:
    with WeightFiles(folder) as files:
        return files.read(name, SHAPE)


def refused(folder: Path, name: str, message: str) -> FailureReason:
    with pytest.raises(TrainerError, match=message) as told:
        read(folder, name)
    assert EXIT_CODE_OF[told.value.reason] in PERMANENT_EXIT_CODES
    return told.value.reason


def test_tensors_are_read_from_the_file_that_the_index_names(sharded: Path) -> None:
    assert torch.equal(read(sharded, "a"), torch.zeros(SHAPE))
    assert torch.equal(read(sharded, "b"), torch.ones(SHAPE))


def test_what_does_not_fit_is_told_by_name(single: Path) -> None:
    refused(single.parent, "x", "does not fit the teacher's architecture: x is missing")
    save_file({"a": torch.ones(3)}, single)
    refused(single.parent, "a", r"a has shape \(3,\), not \(3, 4\)")


def test_what_nobody_asked_for_is_told_where_it_must_not_be(sharded: Path) -> None:
    with WeightFiles(sharded) as files:
        files.read("a", SHAPE)
        with pytest.raises(TrainerError, match="b is no part of it, one of 1 such") as told:
            files.refuse_others()
        assert told.value.reason is FailureReason.INVALID_CONFIGURATION
        files.read("b", SHAPE)
        files.refuse_others()


@pytest.mark.parametrize("content", [POINTER, b"", b"\0" * 4096], ids=["pointer", "empty", "zeros"])
def test_a_file_that_is_no_safetensors_is_told(single: Path, content: bytes) -> None:
    single.write_bytes(content)
    message = rf"{single} is no whole safetensors \(a git-LFS pointer\? a broken copy\?\): fetch it"
    assert refused(single.parent, "a", message) is FailureReason.INVALID_DATA


def test_a_file_that_is_cut_short_is_told(single: Path, sharded: Path) -> None:
    single.write_bytes(single.read_bytes()[:-1])
    (sharded / "2.safetensors").write_bytes((sharded / "2.safetensors").read_bytes()[:-1])
    assert refused(sharded, "b", r"2\.safetensors is no whole") is FailureReason.INVALID_DATA
    (sharded / f"{SINGLE}.index.json").unlink()
    assert refused(single.parent, "a", f"{single} is no whole") is FailureReason.INVALID_DATA


def test_a_file_of_the_index_that_is_absent_or_another_is_told(sharded: Path) -> None:
    (sharded / "2.safetensors").unlink()
    message = rf"{sharded}/2\.safetensors does not exist: fetch the model again"
    assert refused(sharded, "b", message) is FailureReason.NOT_FOUND
    (sharded / "2.safetensors").write_bytes((sharded / "1.safetensors").read_bytes())
    assert refused(sharded, "b", "does not contain tensor b") is FailureReason.INVALID_DATA


@pytest.mark.parametrize("content", [POINTER, b"[]", b'{"weight_map": 1}'])
def test_an_index_that_is_damaged_is_told(sharded: Path, content: bytes) -> None:
    index = sharded / f"{SINGLE}.index.json"
    index.write_bytes(content)
    assert refused(sharded, "a", f"{index} is no whole index") is FailureReason.INVALID_DATA
