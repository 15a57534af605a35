"""The termination message of the pod: the last word of a run, kept by Kubernetes.

Rules this module keeps:

* The JSON is below :data:`~sid_trainer.contract.MAX_RECORD_BYTES`, or it would be cut and lost.
* The file is written in place: kubelet mounts it, so it cannot be renamed over.
* Outside a pod the file is not there and is not made, unless ``SID_TERMINATION_LOG`` names one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from sid_trainer.contract import MAX_RECORD_BYTES, TERMINATION_LOG, Message, TerminationRecord
from sid_trainer.process.failures import shortened

TERMINATION_LOG_VARIABLE = "SID_TERMINATION_LOG"
logger = logging.getLogger(__name__)


def termination_log(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where to write the record, or None outside a pod."""
    named = environ.get(TERMINATION_LOG_VARIABLE)
    if named:
        return Path(named)
    kubelet = Path(TERMINATION_LOG)
    return kubelet if kubelet.exists() else None


def write_record(record: TerminationRecord, path: Path | None) -> None:
    """Write the record, replacing an earlier one. An unwritable file is logged, not fatal."""
    if path is None:
        return
    try:
        path.write_bytes(encoded(record))
    except OSError as error:
        logger.error("cannot write the termination message %s: %s", path, error.strerror)


def encoded(record: TerminationRecord) -> bytes:
    """The record as JSON that fits.

    Metrics go first, then a progress whose addresses take more than half of the room, then the end
    of the message.
    """
    data = _json(record)
    if len(data) > MAX_RECORD_BYTES and record.progress is not None:
        progress = record.progress.model_copy(update={"metrics": {}})
        fits = len(_json(progress)) <= MAX_RECORD_BYTES // 2
        record = record.model_copy(update={"progress": progress if fits else None})
        data = _json(record)
    while len(data) > MAX_RECORD_BYTES and record.failure is not None:
        message = shortened(record.failure.message, len(record.failure.message) * 3 // 4)
        failure = record.failure.model_copy(update={"message": message})
        record = record.model_copy(update={"failure": failure})
        data = _json(record)
    return data


def _json(message: Message) -> bytes:
    return message.model_dump_json(by_alias=True, exclude_none=True).encode()
