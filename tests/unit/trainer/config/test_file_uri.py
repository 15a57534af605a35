"""Which folder a ``file://`` URI names, and which URIs name none."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from sid_trainer.config.file_uri import folder_of
from sid_trainer.config.launch import StorageConfig


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("file:///data/run", "/data/run"),
        ("file:/data/run", "/data/run"),
        ("file://localhost/data/run", "/data/run"),
        ("file:///data/two%20words", "/data/two words"),
        ("file:///data/run#2?", "/data/run#2?"),
        (Path("/data/run #2").as_uri(), "/data/run #2"),
    ],
)
def test_the_folder_is_the_whole_path(uri: str, folder: str) -> None:
    assert folder_of(uri) == Path(folder)


@pytest.mark.parametrize("uri", ["file://digits/run", "file:digits/run", "file://", "file:"])
def test_a_path_that_is_not_absolute_is_refused_with_the_one_that_was_meant(uri: str) -> None:
    with pytest.raises(ValidationError, match=f"such as file://{Path.cwd()}"):
        StorageConfig(uri=uri)
