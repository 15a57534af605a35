"""``remove``: delete a run's folder from its storage. The clean-up Job of a resource runs it.

Rules this module keeps:

* Only a folder inside a bucket can be removed, never a bucket's root.
* It can be run again: what is gone already, be it the bucket, is no error.
* Uploads that never ended go as well: no listing shows them, and they cost space.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from posixpath import normpath
from urllib.parse import urlsplit

from sid_trainer.checkpoint.leftovers import unfinished
from sid_trainer.commands.storage_arguments import add_storage_arguments, endpoint_given
from sid_trainer.config.endpoint import Server
from sid_trainer.contract import ExitCode, FailureReason, TrainerError
from sid_trainer.storage import Storage, open_storage
from sid_trainer.telling.console import set_up_logging

BATCH = 1000
"""Objects deleted at a time: the most that S3 takes in a request."""

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    given = _parser().parse_args(arguments)
    set_up_logging()
    remove(given.storage, endpoint_given(given))
    return ExitCode.DONE


def remove(uri: str, endpoint: Server = None) -> int:
    """Delete everything below a folder; return how many objects there were.

    Raises:
        TrainerError: ``InvalidConfiguration`` when ``uri`` is a whole bucket or file system; else
            the storage's.
    """
    if normpath(f"/{urlsplit(uri).path}").strip("/") == "":
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"{uri} is a whole bucket or file system, which is never removed: give the folder of "
            "a run",
        )
    try:
        return _empty(open_storage(uri, endpoint), uri)
    except TrainerError as error:
        if error.reason is not FailureReason.NOT_FOUND:
            raise
        logger.warning("nothing is left to remove: %s", error)
        return 0


def _empty(storage: Storage, uri: str) -> int:
    _give_up_uploads(storage, uri)
    keys = [found.key for found in storage.list()]
    for start in range(0, len(keys), BATCH):
        storage.delete(keys[start : start + BATCH])
        logger.info("removed %d of %d objects of %s", min(start + BATCH, len(keys)), len(keys), uri)
    return len(keys)


def _give_up_uploads(storage: Storage, uri: str) -> None:
    """Remove unfinished uploads; keys that may not even list them still remove the objects."""
    try:
        uploads = unfinished(storage)
        storage.give_up(uploads)
    except TrainerError as error:
        if error.reason is not FailureReason.ACCESS_DENIED:
            raise
        logger.warning("unfinished uploads were not removed: %s", error)
        return
    if uploads:
        logger.info("removed %d unfinished uploads of %s", len(uploads), uri)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sid_trainer remove",
        description="Delete a run's folder from its storage, checkpoints and student included.",
    )
    add_storage_arguments(parser)
    return parser
