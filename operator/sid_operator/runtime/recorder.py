"""Posts Events on resources.

Rules this module keeps:

* The name of an Event follows from the version of the resource that it was planned from: a pass
  that is repeated after a crash posts the same name, which the API server refuses as a duplicate.
  It begins with that version, so that Events of one second are listed in their order.
* An Event that cannot be posted holds nothing up; it is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sid_operator.api.names import API_VERSION, KIND
from sid_operator.kube import errors
from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import EVENTS
from sid_operator.plan.model import Notice
from sid_operator.resources.metadata import digest

logger = logging.getLogger(__name__)

COMPONENT = "sid-operator"
MAX_NAME = 253
VERSION_DIGITS = 16


class Recorder:
    """Posts Events in the name of one operator process."""

    def __init__(self, client: KubeClient, identity: str) -> None:
        self._client = client
        self._identity = identity

    async def post(self, resource: dict[str, Any], notices: Iterable[Notice]) -> None:
        """Post Events on a resource, in order."""
        for notice in notices:
            namespace = resource["metadata"]["namespace"]
            logger.info("%s: %s", notice.reason, notice.message)
            try:
                await self._client.create(EVENTS, namespace, self._event(resource, notice))
            except errors.ConflictError:
                continue  # posted already
            except errors.KubeError as error:
                logger.warning("event %s could not be posted: %s", notice.reason, error)

    def _event(self, resource: dict[str, Any], notice: Notice) -> dict[str, Any]:
        metadata = resource["metadata"]
        told = [notice.type, notice.reason, notice.known_by or notice.message]
        version = str(metadata["resourceVersion"])
        suffix = f"{version.rjust(VERSION_DIGITS, '0')}.{digest([metadata['uid'], version, *told])}"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.name,
            "metadata": {
                "name": f"{metadata['name'][: MAX_NAME - len(suffix) - 1]}.{suffix}",
                "namespace": metadata["namespace"],
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": notice.type,
            "reason": notice.reason,
            "message": notice.message,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._identity[:128],
        }
