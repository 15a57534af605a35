"""A configuration's file: what is wrong with it is told by its path."""

from pathlib import Path

import pytest

from sid_trainer.config.file import load_config
from sid_trainer.contract import (
    FailureReason,
    TrainerError,
)
from tests.unit.trainer.minimal import VALID


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {batchSiz: 8}", "training.batchSiz: unknown field; did you mean batchSize?"),
        ("colour: red", "colour: unknown field"),
        ("training: {batchSize: many}", "training.batchSize: "),
        ("training: {batchSize: 0}", "greater than or equal to 1, not 0"),
        (
            "training: {iterations: 1, images: 2}",
            "training: training.iterations and training.images",
        ),
        (
            "distillation: {guidance: {strategie: LSG}}",
            "distillation.guidance.strategie: unknown field; did you mean strategy?",
        ),
        ("checkpoint: {bucket: sid}", "a field of resources only; use storage.uri"),
        ("workers: {nodes: 2}", "workers: a field of resources only; use launch in a file"),
        ("launch: {nodes: 3}", "training.batchSize 256 is not a multiple of the 3"),
    ],
)
def test_wrong_settings_are_told_by_path(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(VALID + text)
    with pytest.raises(TrainerError) as raised:
        load_config(path)
    assert raised.value.reason is FailureReason.INVALID_CONFIGURATION
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a: [", "is not YAML"), (b"- a", "mapping"), (b"\xff\xfe", "UTF-8"), (None, "No such file")],
)
def test_files_that_are_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainerError, match=message):
        load_config(path)


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("teacher: {model: a/b}")
    with pytest.raises(TrainerError, match="data: required, but not given; storage: required"):
        load_config(path)


def test_a_resource_is_told_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "distill.yaml"
    path.write_text("apiVersion: sid-dit.dev/v1alpha1\nkind: SiDDistillation\nspec: {}\n")
    with pytest.raises(TrainerError, match=r"is a resource for kubectl apply: .*local-runs\.md"):
        load_config(path)
