"""What attempts that died have left half uploaded.

An upload in parts that nobody ends is not seen in a listing, and costs space all the same. Rules
this module keeps:

* Nothing of a newer attempt is touched, and nothing outside the folders that a run uploads to.
* A store that refuses costs space, not the run: that is told, with what it takes.

Whole objects that belong to no checkpoint go with the next commit
(:mod:`sid_trainer.checkpoint.retention`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from sid_trainer.checkpoint.commit import Fence, announced_parts
from sid_trainer.checkpoint.layout import FOLDER, attempt_of
from sid_trainer.contract import TrainerError
from sid_trainer.storage import BegunUpload, Storage

UPLOADED_FOLDERS = (FOLDER, "student", "student-best")

logger = logging.getLogger(__name__)


def give_up_dead_uploads(storage: Storage, attempt: int, fence: Fence) -> None:
    """Remove what earlier attempts began to upload; for rank 0, before it uploads anything."""
    try:
        fence()
        dead = of_earlier(unfinished(storage), attempt)
        storage.give_up(dead)
    except TrainerError as error:
        logger.warning("unfinished uploads of earlier attempts were not removed: %s", error)
        return
    if dead:
        logger.info("removed %d unfinished uploads of earlier attempts", len(dead))


def unfinished(storage: Storage) -> Sequence[BegunUpload]:
    """All uploads of a run that have not ended."""
    keys = [found.key for found in storage.list(f"{FOLDER}/")]
    return storage.begun_uploads(announced_parts(storage, keys))


def of_earlier(uploads: Iterable[BegunUpload], attempt: int) -> list[BegunUpload]:
    """Those that attempts before this one began.

    What bears no number is uploaded by one attempt at a time, and this one has not begun yet.
    """
    return [
        upload
        for upload in uploads
        if upload.key.startswith(tuple(f"{folder}/" for folder in UPLOADED_FOLDERS))
        and (attempt_of(upload.key) or 0) < attempt
    ]
