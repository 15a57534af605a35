"""What can be found out before torch is loaded and a GPU is touched.

A wrong Secret, bucket, endpoint, teacher or prompts file is told in seconds, not after the minute
that loading the libraries and meeting the other nodes takes. Nothing is written or downloaded.
"""

from __future__ import annotations

from sid_trainer.attempts import last_attempt
from sid_trainer.config import RunConfig
from sid_trainer.models import check_file, check_model
from sid_trainer.storage import open_storage


def check_inputs(config: RunConfig) -> None:
    """Look whether storage, models and prompts are there.

    Raises:
        TrainerError: ``AccessDenied``, ``NotFound`` or ``StorageUnavailable``, naming what.
    """
    endpoint = config.storage.endpoint
    last_attempt(open_storage(config.storage.uri, endpoint))
    check_model(config.teacher.model, endpoint)
    if config.student.init_from is not None:
        check_model(config.student.init_from, endpoint)
    check_file(config.data.prompts.uri, endpoint)
