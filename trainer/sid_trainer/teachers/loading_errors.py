"""What it means that diffusers or transformers cannot load a part of a teacher."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.process.failures import failure_of

WHOLE = "give the whole pipeline, as save_pretrained writes it"
_VOLUME = "check the volume"
_AGAIN = "fetch it again, whole (a git-LFS pointer? a broken copy?)"


@contextmanager
def loading_errors(what: str) -> Iterator[None]:
    """Turn the libraries' errors within the block into ours.

    Args:
        what: the part of the teacher, for the message.

    Raises:
        TrainerError: ``NotFound`` when a file is absent, ``StorageUnavailable`` when one cannot be
            read, ``InvalidData`` for what a library makes nothing of. What is known otherwise, such
            as a lack of memory, passes.
    """
    try:
        yield
    except OSError as error:
        absent = error.errno in (None, errno.ENOENT)  # the libraries' own errors have no number
        reason = FailureReason.NOT_FOUND if absent else FailureReason.STORAGE_UNAVAILABLE
        remedy = WHOLE if absent else _VOLUME
        raise TrainerError(reason, _message(what, error, remedy)) from error
    except Exception as error:
        if failure_of(error).reason is not FailureReason.UNKNOWN:
            raise
        raise TrainerError(FailureReason.INVALID_DATA, _message(what, error, _AGAIN)) from error


def refuse_gaps(what: str, missing: Collection[str], remedy: str = WHOLE) -> None:
    """Raise ``InvalidData`` for weights that a part lacks, in whose place the libraries have noise.

    Args:
        what: the part of the teacher, or another model, for the message.
        missing: their names.
        remedy: what to do; for a part of the teacher by default.
    """
    if missing:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"{what} lacks {len(missing)} of its weights, such as {min(missing)}: {remedy}",
        )


def _message(what: str, error: Exception, remedy: str) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return f"teacher.model's {what} cannot be loaded: {remedy} ({said})"
