"""Which folder a ``file://`` URI names, and which URIs name none."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from sid_trainer.config.data import ImagesConfig, PromptsConfig
from sid_trainer.config.evaluation import ScoreModelConfig
from sid_trainer.config.file_uri import folder_of, path_of
from sid_trainer.config.launch import StorageConfig
from sid_trainer.config.teacher import TeacherConfig


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


@pytest.mark.parametrize("uri", ["file://digits/run", "file:digits/run"])
def test_so_is_one_of_what_is_read(uri: str) -> None:
    for section, field in (
        (TeacherConfig, "model"),
        (PromptsConfig, "uri"),
        (ImagesConfig, "uri"),
        (ScoreModelConfig, "model"),
    ):
        with pytest.raises(ValidationError, match=f"such as file://{Path.cwd()}"):
            section.model_validate({field: uri})


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("file:///data/two%20words.txt", "/data/two words.txt"),
        ("/data/two%20words.txt", "/data/two%20words.txt"),
        ("data/prompts.txt", "data/prompts.txt"),
    ],
)
def test_only_a_uri_is_decoded(place: str, path: str) -> None:
    assert path_of(place) == Path(path)
