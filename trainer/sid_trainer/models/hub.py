"""The Hugging Face Hub: who asks it, and what its refusals mean.

Rules this module keeps:

* The token comes from ``HF_TOKEN`` alone; without it none is looked for, as home may not be
  readable.
* Every refusal is told with what was asked for and the remedy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.models.node_cache import cache_error
from sid_trainer.storage.base import not_found

_TOKEN = "a token{} (HF_TOKEN, teacher.tokenSecretRef)"  # noqa: S105 - a name of it


def token() -> str | bool:
    """The token for requests; False sends none."""
    return os.environ.get("HF_TOKEN") or False


@contextmanager
def hub_errors(
    what: str, revision_field: str, no_entry: TrainerError, cache: Path | None = None
) -> Iterator[None]:
    """Turn whatever fails while the Hub is asked into our errors.

    Args:
        what: what is asked for, as the user wrote it.
        revision_field: the setting that names a revision.
        no_entry: what to raise when the repository has no such file.
        cache: folder that is written to: that it is full is not the Hub's fault.
    """
    try:
        yield
    except TrainerError:
        raise
    except Exception as error:
        full = cache_error(error, cache) if cache is not None else None
        raise full or _translated(error, what, revision_field, no_entry) from error


def _translated(
    error: Exception, what: str, revision_field: str, no_entry: TrainerError
) -> TrainerError:
    """What an error of the Hub's client means; see :func:`hub_errors`."""
    from huggingface_hub import errors

    if isinstance(error, errors.HFValidationError):
        return TrainerError(
            FailureReason.INVALID_CONFIGURATION, f"{what} is no Hugging Face id ({error})"
        )
    if isinstance(error, errors.GatedRepoError):
        return TrainerError(
            FailureReason.ACCESS_DENIED,
            f"{what} is gated: accept its terms on the Hugging Face Hub, and give "
            + _TOKEN.format(" of that account"),
        )
    absent = _absent(error, what, revision_field, no_entry)
    if absent is not None:
        return absent
    if isinstance(error, errors.HfHubHTTPError):
        return _refused(what, error.response.status_code)
    return TrainerError(
        FailureReason.STORAGE_UNAVAILABLE,
        f"cannot fetch {what} from the Hugging Face Hub ({type(error).__name__}): let the pod "
        "reach huggingface.co, name a mirror or proxy in workers.env (HF_ENDPOINT, "
        f"HTTPS_PROXY), or give an s3:// address or a path{_of_a_folder(what)}",
    )


def _absent(
    error: Exception, what: str, revision_field: str, no_entry: TrainerError
) -> TrainerError | None:
    """What an error means that says that something is not there; None for any other."""
    from huggingface_hub import errors

    if isinstance(error, errors.RevisionNotFoundError):
        return not_found(what, f"correct {revision_field}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return not_found(
            f"Hugging Face repository {what}",
            "correct the id, or give " + _TOKEN.format(" that may read it") + _of_a_folder(what),
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return no_entry
    return None


def _of_a_folder(what: str) -> str:
    """What to add for an id that may have been meant as a relative path."""
    return "" if "://" in what else "; if a folder was meant, there is none of this name here"


def _refused(what: str, status: int) -> TrainerError:
    """The error for an answer that says nothing of the repository."""
    told = f"the Hugging Face Hub refuses {what} (HTTP {status}): "
    if status == HTTPStatus.UNAUTHORIZED:
        return TrainerError(
            FailureReason.ACCESS_DENIED,
            told + "the token is wrong or has expired; give " + _TOKEN.format(" that is valid"),
        )
    if status == HTTPStatus.FORBIDDEN:
        return TrainerError(
            FailureReason.ACCESS_DENIED, told + "give " + _TOKEN.format(" that may read it")
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        remedy = "it limits requests; give " + _TOKEN.format("") + ", or keep a copy in s3://"
    else:
        remedy = "try again later, or keep a copy in s3://"
    return TrainerError(FailureReason.STORAGE_UNAVAILABLE, told + remedy)
