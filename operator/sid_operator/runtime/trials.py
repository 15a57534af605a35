"""Asks the API server whether it would take an object, without making it.

Rules this module keeps:

* What was refused is asked again only after a pause, which grows with the time that it has been
  refused for, however many passes there are meanwhile. Another object is asked for at once.
* A refusal that says nothing of the object itself is none: a quota counts what the object is to
  replace, and a webhook may not be made for questions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sid_operator.kube import errors
from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import Kind
from sid_operator.plan.refusal import pause
from sid_operator.resources.metadata import Manifest, digest
from sid_operator.runtime.store import Key

logger = logging.getLogger(__name__)

_TELLS_NOTHING = ("exceeded quota", "does not support dry run")
"""Words of the API server's quota, and of what it says of a webhook that has side effects."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """What was asked for, the answer, and the seconds when it was first given and is asked anew."""

    digest: str
    error: errors.RejectedError
    first: float
    due: float


class Trials:
    """Asks, and remembers refusals.

    Args:
        client: Asks the API server.
        monotonic: Seconds of a clock that never jumps.
    """

    def __init__(
        self, client: KubeClient, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._monotonic = monotonic
        self._refused: dict[Key, _Refused] = {}

    async def refusal(self, kind: Kind, manifest: Manifest) -> errors.RejectedError | None:
        """Why an object would not be taken, or None where it would."""
        key = Key(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        asked, now = digest(manifest), self._monotonic()
        known = self._refused.pop(key, None)
        if known is not None and known.digest != asked:
            known = None
        if known is None or now >= known.due:
            error = await self._asked(kind, manifest)
            if error is None:
                return None
            first = known.first if known is not None else now
            due = now + pause(timedelta(seconds=now - first)).total_seconds()
            known = _Refused(asked, error, first, due)
        self._refused[key] = known
        return known.error

    def seconds_left(self, key: Key) -> float | None:
        """Seconds until what was refused under a name may be asked again; None where it may be."""
        known = self._refused.get(key)
        left = known.due - self._monotonic() if known is not None else 0.0
        return left if left > 0 else None

    def forget(self, key: Key) -> None:
        """Nothing is to be asked any more."""
        self._refused.pop(key, None)

    async def _asked(self, kind: Kind, manifest: Manifest) -> errors.RejectedError | None:
        try:
            namespace = manifest["metadata"]["namespace"]
            await self._client.create(kind, namespace, manifest, dry_run=True)
        except errors.ConflictError:
            pass  # all that might refuse it was asked before its name was looked up
        except errors.RejectedError as error:
            if any(words in error.message for words in _TELLS_NOTHING):
                return None
            logger.warning(
                "%s %s would be refused: %s", kind.name, manifest["metadata"]["name"], error
            )
            return error
        return None
