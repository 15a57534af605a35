"""The API server's audit log: who asked for what, and when."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete"})
QUIET = frozenset({"leases"})
"""Leadership: a constant trickle, whatever there is to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """One answered request.

    Attributes:
        what: Plural of the kind, with ``/status`` and the like.
        received: When the API server took it, in seconds since the epoch.
        answered: When it was done with it.
    """

    user: str
    verb: str
    what: str
    namespace: str
    name: str
    code: int
    received: float
    answered: float

    @property
    def writes(self) -> bool:
        """Whether it asked for a change."""
        return self.verb in WRITES

    @property
    def on_behalf(self) -> bool:
        """Whether it was made for the sake of resources: no watch, no Lease, no discovery."""
        return self.verb != "watch" and self.what not in QUIET and bool(self.what)


class AuditLog:
    """Reads on where it stopped."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0

    def news(self, users: Collection[str] = ()) -> list[Request]:
        """Requests since the last call; of these users, or of all."""
        with self._file.open("rb") as log:
            log.seek(self._offset)
            content = log.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        found = (_request(json.loads(line)) for line in whole.splitlines())
        return [each for each in found if not users or each.user in users]


def on_behalf(requests: Iterable[Request]) -> list[Request]:
    """Those that were made for the sake of resources."""
    return [each for each in requests if each.on_behalf]


def _request(event: dict[str, Any]) -> Request:
    target = event.get("objectRef") or {}
    parts = [target.get("resource", ""), target.get("subresource", "")]
    return Request(
        user=event["user"]["username"],
        verb=event["verb"],
        what="/".join(part for part in parts if part),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=int((event.get("responseStatus") or {}).get("code", 0)),
        received=_seconds(event["requestReceivedTimestamp"]),
        answered=_seconds(event["stageTimestamp"]),
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
