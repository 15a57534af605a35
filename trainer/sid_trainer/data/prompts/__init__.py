"""The training prompts: where they are, how they are read, and in which order they come.

:func:`open_prompts` brings them to this node, once for all its processes. The order is in
:mod:`sid_trainer.data.prompts.order`, apart from the rest because it needs torch, which is not
loaded yet when inputs are first looked for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from sid_trainer.config import PromptsConfig
from sid_trainer.config.endpoint import Server
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.prompts.formats import read_prompts
from sid_trainer.data.prompts.index import PromptIndex, Prompts, write_index
from sid_trainer.data.prompts.sources import PromptFile, find_files, look_for_files
from sid_trainer.models.node_cache import locked
from sid_trainer.process.environment import cache_root

__all__ = ["PromptIndex", "Prompts", "check_prompts", "open_prompts"]

_VERSION = 2
"""Of the index's form and of how prompts are read: another one is never reused."""

logger = logging.getLogger(__name__)


def check_prompts(config: PromptsConfig, endpoint: Server = None) -> None:
    """Look whether prompt files are there, without reading them. The Hub is not asked.

    Raises:
        TrainerError: ``NotFound``, ``AccessDenied``, ``StorageUnavailable`` or
            ``InvalidConfiguration``, naming the address.
    """
    look_for_files(config.uri, endpoint)


def open_prompts(
    config: PromptsConfig, endpoint: Server = None, cache: Path | None = None
) -> PromptIndex:
    """Bring all prompts to this node, in the order of files and lines.

    The first process of the node reads the files and writes an index of them; the others wait for
    it, and later starts find it, unless the files have changed.

    Args:
        config: where the prompts are.
        endpoint: the S3 server, or its URL; AWS when None.
        cache: where the index goes; :func:`~sid_trainer.process.environment.cache_root` by default.

    Raises:
        TrainerError: as :func:`check_prompts`, and ``InvalidData`` with file and line.
    """
    root = (cache or cache_root()) / "prompts"
    files = find_files(config.uri, endpoint)
    folder = root / _digest(files, config.column)
    with locked(folder):
        if not folder.is_dir():
            _write(folder, files, config)
    return PromptIndex(folder)


def _write(folder: Path, files: list[PromptFile], config: PromptsConfig) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    count = write_index(partial, _all_prompts(files, config.column, folder.parent))
    if count == 0:
        shutil.rmtree(partial)
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"{config.uri} has no prompts: give one prompt a line, or a row",
        )
    logger.info("%d prompts in %d file(s) of %s", count, len(files), config.uri)
    partial.rename(folder)


def _all_prompts(files: list[PromptFile], column: str | None, scratch: Path) -> Iterator[str]:
    for file in files:
        with file.local(scratch) as path:
            yield from read_prompts(path, file.uri, column)


def _digest(files: list[PromptFile], column: str | None) -> str:
    """A folder name that changes whenever the prompts may."""
    parts = [_VERSION, column, [(file.uri, file.version) for file in files]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
