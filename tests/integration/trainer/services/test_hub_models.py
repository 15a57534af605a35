"""What of a repository on the Hub comes to a node, with its real client, and where it cannot."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from sid_trainer.contract import EXIT_CODE_OF, ExitCode, FailureReason, TrainerError
from sid_trainer.models.fetching import fetch_folder, fetch_model
from sid_trainer.models.hub import hub_errors
from sid_trainer.models.node_cache import locked
from sid_trainer.storage.base import not_found
from tests.integration.trainer.hub_server import hub_server

COMMIT = "0123456789abcdef0123456789abcdef01234567"
INDEX = {
    "_class_name": "SanaPipeline",
    "text_encoder": ["transformers", "Gemma2Model"],
    "transformer": ["diffusers", "SanaTransformer2DModel"],
    "image_encoder": [None, None],
}
PLAIN = [
    "model_index.json",
    "README.md",
    "text_encoder/config.json",
    "text_encoder/model.safetensors.index.json",
    "text_encoder/model-00001-of-00002.safetensors",
    "text_encoder/model-00002-of-00002.safetensors",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
]
VARIANTS = [
    "all_in_one.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.fp16-00001-of-00002.safetensors",
    "text_encoder/model.fp16-00002-of-00002.safetensors",
    "text_encoder/model.safetensors.index.fp16.json",
    "transformer/diffusion_pytorch_model.bf16.safetensors",
    "transformer/diffusion_pytorch_model.bf16-00001-of-00002.safetensors",
    "transformer/diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
    "transformer/diffusion_pytorch_model.bin",
    "image_encoder/model.safetensors",
]


@dataclass
class Hub:
    """One repository; sizes may be told that its files do not have."""

    files: dict[str, bytes]
    sizes: dict[str, int] = field(default_factory=dict)

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        path = handler.path.partition("?")[0]
        if path.startswith("/api/models/o/n"):
            about = self.tree() if "/tree/" in path else self.info()
            return 200, {"Content-Type": "application/json"}, json.dumps(about).encode()
        name = path.partition("/resolve/")[2].partition("/")[2]
        if name not in self.files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        etag = name.replace("/", "-")
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, self.files[name]

    def info(self) -> dict[str, Any]:
        siblings = [{"rfilename": name, "size": self.size(name)} for name in self.files]
        return {"id": "o/n", "_id": "1", "sha": COMMIT, "siblings": siblings}

    def tree(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": self.size(name), "oid": "0"}
            for name in self.files
        ]

    def size(self, name: str) -> int:
        return self.sizes.get(name, len(self.files[name]))


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub(dict.fromkeys(PLAIN + VARIANTS, b"{}"))
    state.files["model_index.json"] = json.dumps(INDEX).encode()
    with hub_server(state.answer):
        yield state


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_of_weights_in_variants_the_plain_one_comes(hub: Hub, tmp_path: Path) -> None:
    assert names(fetch_model("o/n", cache=tmp_path)) == set(PLAIN)


def test_one_component_comes_without_the_others(hub: Hub, tmp_path: Path) -> None:
    fetched = names(fetch_model("o/n", cache=tmp_path, only="transformer"))
    assert fetched == {name for name in PLAIN if not name.startswith("text_encoder")}


def test_a_transformers_model_comes_in_its_plain_variant(hub: Hub, tmp_path: Path) -> None:
    hub.files = {name.rpartition("/")[2]: b"{}" for name in PLAIN + VARIANTS if "text_" in name}
    plain = {name.rpartition("/")[2] for name in PLAIN if "text_" in name}
    assert names(fetch_folder("o/n", cache=tmp_path)) == plain


def test_a_node_without_room_is_told_before_a_byte_is_fetched(hub: Hub, tmp_path: Path) -> None:
    weights = "transformer/diffusion_pytorch_model.safetensors"
    hub.sizes = {weights: 10**18, "text_encoder/model.fp16.safetensors": 10**18}
    with pytest.raises(TrainerError, match=r"o/n has 1000000000\.0 GB, .*SID_CACHE") as told:
        fetch_model("o/n", cache=tmp_path)
    assert told.value.reason is FailureReason.STORAGE_UNAVAILABLE
    assert not list(tmp_path.rglob("*.safetensors"))
    del hub.sizes[weights]
    fetch_model("o/n", cache=tmp_path)
    hub.sizes[weights] = 10**18  # it is there already, and needs no room
    fetch_model("o/n", cache=tmp_path)


def test_a_pipeline_that_cannot_be_distilled_is_told_before_weights_are_fetched(
    hub: Hub, tmp_path: Path
) -> None:
    hub.files["model_index.json"] = json.dumps(INDEX | {"_class_name": "PixArtPipeline"}).encode()
    with pytest.raises(TrainerError, match="o/n is a PixArtPipeline, which cannot be") as told:
        fetch_model("o/n", cache=tmp_path)
    assert told.value.reason is FailureReason.INVALID_CONFIGURATION
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_disk_that_fills_up_is_told_with_the_remedy(tmp_path: Path) -> None:
    with (
        pytest.raises(TrainerError, match=rf"{tmp_path} is full: .*SID_CACHE") as told,
        locked(tmp_path / "model"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert told.value.reason is FailureReason.STORAGE_UNAVAILABLE


def test_a_cache_that_may_not_be_written_is_told_for_good(hub: Hub) -> None:
    with pytest.raises(
        TrainerError, match=r"/sys/.*may not be written by user .*SID_CACHE"
    ) as told:
        fetch_model("o/n", cache=Path("/sys/cache"))
    assert EXIT_CODE_OF[told.value.reason] is ExitCode.DENIED


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("connection reset by peer"), "cannot fetch o/n from the Hugging Face Hub"),
        (RuntimeError("no route to host"), "there is none of this name here"),
        (RuntimeError("I/O error: (os error 28)"), "cache is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "cache is full"),
    ],
)
def test_any_failure_of_a_download_is_its_own(error: Exception, message: str) -> None:
    """Not a lost peer: what its client's own libraries raise has no class of the Hub's."""
    with (
        pytest.raises(TrainerError, match=message) as told,
        hub_errors("o/n", "teacher.revision", not_found("o/n", ""), Path("/cache")),
    ):
        raise error
    assert told.value.reason is FailureReason.STORAGE_UNAVAILABLE
