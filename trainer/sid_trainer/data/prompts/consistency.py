"""The same prompts everywhere and at every time: on all ranks, and in all attempts of a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.prompts.index import PromptIndex
from sid_trainer.process.group import ProcessGroup

META = "prompts"
"""Name of the prompts' checksum among the facts of a checkpoint."""

logger = logging.getLogger(__name__)


def require_same_prompts(group: ProcessGroup, prompts: PromptIndex) -> None:
    """Raise on every rank when nodes read different prompts; a collective.

    Raises:
        TrainerError: ``StorageUnavailable``, because another start may find the files at rest.
    """
    if len(set(group.all_gather(prompts.fingerprint))) > 1:
        raise TrainerError(
            FailureReason.STORAGE_UNAVAILABLE,
            "data.prompts.uri changed while the run was starting, and its nodes read different "
            "prompts: leave the files as they are, or name a fixed revision of the dataset",
        )


def tell_other_prompts(meta: Mapping[str, Any], prompts: PromptIndex) -> None:
    """Warn when a checkpoint was made with other prompts: the run goes on, with the new ones."""
    if meta.get(META, prompts.fingerprint) != prompts.fingerprint:
        logger.warning(
            "data.prompts.uri holds other prompts than when the checkpoint was made: training goes "
            "on with the new ones, in an order of their own"
        )
