"""The manifest of a checkpoint: what belongs to it, and how to tell that it is whole.

Rules this module keeps:

* Everything in it is checked when it is read: it comes from a store that others can write to.
* A later format is refused, not guessed at and not passed over: an older program must not go on
  from an older checkpoint and delete the newer one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from sid_trainer.checkpoint import checksums, layout
from sid_trainer.checkpoint.settings import digest
from sid_trainer.contract import FailureReason, TrainerError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

FORMAT_VERSION: Literal[2] = 2
"""Version 1 had SHA-256 for checksums, under a key of that name; it is read as well."""
_ORIGIN_PATTERN = r"^(commit:\w[\w.-]{0,127}|files:[0-9a-f]{64})$"
_PART_PATTERN = r"^attempt-\d{4,}/rank-\d{5,}\.safetensors$"


class _Stored(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class _Summed(_Stored):
    """Some bytes and their checksum (:mod:`.checksums`)."""

    size: Annotated[int, Field(ge=8)]
    checksum: Annotated[str, Field(pattern=checksums.PATTERN)]

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "sha256" in fields and "checksum" not in fields:
            return {**fields, "checksum": f"sha256:{fields['sha256']}"}
        return fields


class Beginning(_Summed):
    """The first ``size`` bytes of an object: who needs no more of it verifies no more."""


class PartFile(_Summed):
    """One rank's object; the key is relative to the checkpoint's folder.

    ``beginnings`` end where the student's averaged and its present weights do; a manifest from
    before there were any has none.
    """

    key: Annotated[str, Field(pattern=_PART_PATTERN)]
    beginnings: tuple[Beginning, ...] = ()


class Manifest(_Stored):
    """A committed checkpoint.

    ``parts`` are by rank. ``origins`` tell which models the run started from, by the fields that
    name them (:mod:`sid_trainer.models.origins`); a manifest from before they were kept has none.
    """

    format_version: Literal[1, 2] = FORMAT_VERSION
    iteration: Annotated[int, Field(ge=0)]
    world_size: Annotated[int, Field(ge=1)]
    attempt: Annotated[int, Field(ge=1)]
    time: datetime
    settings_digest: str
    settings: dict[str, Any]
    parts: tuple[PartFile, ...]
    origins: dict[str, Annotated[str, Field(pattern=_ORIGIN_PATTERN)]] = {}

    def part_key(self, rank: int) -> str:
        """Full key of a rank's object."""
        return f"{layout.folder(self.iteration)}/{self.parts[rank].key}"

    def unlisted(self, sizes: Mapping[str, int], uri: Callable[[str], str]) -> str:
        """Which object is absent, or of another size; "" where all are there.

        Args:
            sizes: of all objects by key.
            uri: address of an object, as people are told it.
        """
        for rank, part in enumerate(self.parts):
            key = self.part_key(rank)
            if key not in sizes:
                return f"{uri(key)} is missing"
            if sizes[key] != part.size:
                return f"{uri(key)} has {sizes[key]} bytes, and its manifest says {part.size}"
        return ""

    def contradiction(self, rank: int, meta: Mapping[str, Any]) -> str:
        """What a rank's state says of itself that cannot be so; "" where all is well."""
        expected = {"iteration": self.iteration, "rank": rank, "worldSize": self.world_size}
        for name, value in expected.items():
            if meta.get(name) != value:
                return f"has {name} {meta.get(name)!r} in place of {value}"
        return ""


class DamagedError(Exception):
    """A checkpoint is not what its manifest says; the message names the object."""


def read_twice(read: Callable[[], Result]) -> Result:
    """What ``read`` gives, asked once more where it finds damage.

    Bytes are damaged on their way, too, and a checkpoint that is passed over is lost.
    """
    try:
        return read()
    except DamagedError as error:
        logger.warning("%s; it is read once more", error)
        return read()


def read_manifest(data: bytes, uri: str) -> Manifest:
    """Parse a manifest.

    Raises:
        DamagedError: when it is not one.
        TrainerError: ``InvalidConfiguration`` when a later version of the program wrote it.
    """
    try:
        version = _Version.model_validate_json(data).format_version
        if version > FORMAT_VERSION:
            raise TrainerError(
                FailureReason.INVALID_CONFIGURATION,
                f"{uri} has format version {version}, and this program knows {FORMAT_VERSION}: "
                "resume with the image that wrote it",
            )
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise DamagedError(f"{uri} is no manifest ({error.error_count()} errors)") from error
    if len(manifest.parts) != manifest.world_size:
        raise DamagedError(
            f"{uri} names {len(manifest.parts)} parts for {manifest.world_size} ranks"
        )
    for rank, part in enumerate(manifest.parts):
        if not part.key.endswith(layout.part_name(rank)):
            raise DamagedError(f"{uri} names {part.key} as the part of rank {rank}")
    if not uri.endswith(layout.manifest_key(manifest.iteration)):
        raise DamagedError(f"{uri} is the manifest of iteration {manifest.iteration}")
    if digest(manifest.settings) != manifest.settings_digest:
        raise DamagedError(f"{uri} has settings that are not those of its own digest")
    return manifest


class _Version(_Stored):
    format_version: int
