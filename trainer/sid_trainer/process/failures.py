"""From an exception to what a user is told: a reason and a message.

Rules this module keeps:

* The first error that is known wins, from the last one raised back to what it was raised from or
  during: a clean-up that fails too does not hide why it was needed.
* It knows torch's errors by class name and text and does not import torch: the launcher uses it.
* A configuration that does not validate is the user's; another file that does not is ``Error``.
* What is not recognised is ``Error``, never a guess; its traceback stays in the log.
* What goes wrong with a thing that a field names is told with that field (:func:`naming`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from sid_trainer.config import RunConfig
from sid_trainer.config.file import describe
from sid_trainer.contract import MAX_TEXT, Failure, FailureReason, TrainerError

# Errors of torch.distributed that a lost or stuck peer causes on the ranks that live.
_PEER_CLASSES = frozenset({"DistBackendError", "DistNetworkError", "DistStoreError"})
_PEER_TEXTS = (
    "connection closed by peer",
    "connection reset by peer",
    "connectfullmesh failed",
    "connection refused",
    "broken pipe",
    "socket closed",
    "remote process exited",
    "ncclremoteerror",
    "timed out waiting",  # gloo
    "wait timeout",  # the store
    "watchdog caught collective operation timeout",
    "application timeout caused pair closure",
)
# Backend errors whose cause is on this rank, whatever the class says.
_OWN_TEXTS = ("invalid usage", "invalid argument", "unhandled cuda error", "no cuda gpus")
_SOURCE_PLACE = re.compile(r"^\[[^\]]*\.(?:cc|cpp|h|hpp):\d+\]\s*")
_ENFORCED = re.compile(r"^\[enforce fail at [^\]]*\] [^.]*\. ")
_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "not enough memory")


def failure_of(error: BaseException, rank: int | None = None) -> Failure:
    """What to tell about an exception.

    Args:
        error: the exception that ended the process.
        rank: the process's rank, when it is known.
    """
    for link in _chain(error):
        known = _known(link)
        if known is not None:
            reason, message = known
            return Failure(reason=reason, message=shortened(message), rank=rank)
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Failure(reason=FailureReason.UNKNOWN, message=shortened(message), rank=rank)


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Put a field of the configuration in front of what goes wrong within, unless it is there."""
    try:
        yield
    except TrainerError as error:
        if field in str(error):
            raise
        raise TrainerError(error.reason, f"{field}: {error}") from error


def shortened(message: str, limit: int = MAX_TEXT) -> str:
    """The message, cut to ``limit`` characters with an ellipsis.

    What is no character in it, such as a byte of a file's name that is not UTF-8, is written as
    its escape: records take none.
    """
    message = message.encode("utf-8", "backslashreplace").decode("utf-8")
    return message if len(message) <= limit else message[: limit - 1] + "…"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from or during, each once."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and not any(link is known for known in seen):
        yield link
        seen.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _known(error: BaseException) -> tuple[FailureReason, str] | None:
    if isinstance(error, TrainerError):
        return error.reason, str(error)
    if isinstance(error, ValidationError) and error.title == RunConfig.__name__:
        return FailureReason.INVALID_CONFIGURATION, describe(error, RunConfig)
    if isinstance(error, KeyboardInterrupt):
        return FailureReason.TERMINATED, "interrupted from the keyboard"
    if _is_memory(error):
        return FailureReason.OUT_OF_MEMORY, _memory_message(error)
    if _is_peer(error):
        return FailureReason.PEER_LOST, f"the connection to another rank was lost: {_gist(error)}"
    return None


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and _mentions(error, _MEMORY_TEXTS)


def _memory_message(error: BaseException) -> str:
    first = _ENFORCED.sub("", str(error)).split(". ")[0].splitlines()
    return (
        f"out of memory: {first[0] if first else type(error).__name__}; lower "
        "training.microBatchSize, turn on training.gradientCheckpointing, or use more GPUs"
    )


def _is_peer(error: BaseException) -> bool:
    if _mentions(error, _OWN_TEXTS):
        return False
    if type(error).__name__ in _PEER_CLASSES:
        return True
    return isinstance(error, RuntimeError) and _mentions(error, _PEER_TEXTS)


def _gist(error: BaseException) -> str:
    """The first sentence of torch's message, without the place in its source."""
    text = _SOURCE_PLACE.sub("", str(error))
    return text.splitlines()[0].split(". ")[0] if text else type(error).__name__


def _mentions(error: BaseException, texts: tuple[str, ...]) -> bool:
    message = str(error).lower()
    return any(text in message for text in texts)
