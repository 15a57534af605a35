"""A pipeline without its weights: the configuration files, from which every size follows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sid_trainer.models.pipeline_index import INDEX, read_index

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Skeleton:
    """Configuration files of a diffusers pipeline.

    Attributes:
        index: ``model_index.json``.
        components: ``config.json`` of each component that has one, by folder.
        token_limits: ``model_max_length`` of tokenizers, by folder, where it is told.
    """

    index: Json
    components: Mapping[str, Json]
    token_limits: Mapping[str, int]

    @classmethod
    def read(cls, folder: Path) -> Skeleton:
        """The files of a pipeline's directory."""
        index = read_index(folder)
        present = [name for name in index if (folder / name).is_dir()]
        components = {
            name: _read(folder / name / "config.json")
            for name in present
            if (folder / name / "config.json").is_file()
        }
        tokenizers = {
            name: _read(folder / name / "tokenizer_config.json")
            for name in present
            if (folder / name / "tokenizer_config.json").is_file()
        }
        limits = {
            name: int(config["model_max_length"])
            for name, config in tokenizers.items()
            if config.get("model_max_length") is not None
        }
        return cls(index, components, limits)

    def write(self, folder: Path) -> None:
        """Write what an adapter reads into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / INDEX, self.index)
        for name, config in self.components.items():
            (folder / name).mkdir(exist_ok=True)
            _write(folder / name / "config.json", config)
        for name, limit in self.token_limits.items():
            (folder / name).mkdir(exist_ok=True)
            _write(folder / name / "tokenizer_config.json", {"model_max_length": limit})

    def with_component(self, name: str, **changes: Any) -> Skeleton:
        """The same pipeline with some settings of a component changed."""
        changed = {**self.components[name], **changes}
        return replace(self, components={**self.components, name: changed})

    def class_of(self, name: str) -> tuple[str, str] | None:
        """Library and class of a component, None where the pipeline has it not."""
        entry = self.index.get(name)
        if not isinstance(entry, list | tuple) or entry[0] is None:
            return None
        return str(entry[0]), str(entry[1])


def _read(file: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data


def _write(file: Path, data: Json) -> None:
    file.write_text(json.dumps(data), encoding="utf-8")
