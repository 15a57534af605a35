"""The kinds that the operator touches, where the API serves them, and what their objects are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sid_operator.api.names import API_VERSION, KIND, PLURAL

Object = dict[str, Any]
"""An object of the API, or a part of one, as it stands in JSON."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of the API.

    Attributes:
        api_version: ``v1`` or ``group/version``.
        name: As it stands in ``kind``.
        plural: As it stands in paths.
    """

    api_version: str
    name: str
    plural: str

    @property
    def group_path(self) -> str:
        """Path at which the API server tells what it serves of this group and version."""
        return ("/apis/" if "/" in self.api_version else "/api/") + self.api_version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of an object, or of the collection in a namespace, or in all of them.

        >>> JOBS.path("team", "run", "status")
        '/apis/batch/v1/namespaces/team/jobs/run/status'
        """
        parts = [self.group_path]
        parts += ["namespaces", namespace] if namespace else []
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


def resource_in(path: str) -> str:
    """The collection that a path of the API leads to, or "discovery".

    >>> resource_in("/apis/batch/v1/namespaces/team/jobs/run/status")
    'jobs'
    """
    parts = path.strip("/").split("/")
    start = 2 if parts[0] == "api" else 3
    if "namespaces" in parts[start : start + 1]:
        start += 2
    plural = parts[start] if len(parts) > start else ""
    return plural if plural in PLURALS else "discovery"


CONFIG_MAPS = Kind("v1", "ConfigMap", "configmaps")
SERVICES = Kind("v1", "Service", "services")
PODS = Kind("v1", "Pod", "pods")
EVENTS = Kind("v1", "Event", "events")
JOBS = Kind("batch/v1", "Job", "jobs")
LEASES = Kind("coordination.k8s.io/v1", "Lease", "leases")
NODES = Kind("v1", "Node", "nodes")  # of the cluster: its namespace is ""
DISTILLATIONS = Kind(API_VERSION, KIND, PLURAL)
PLURALS = frozenset(
    kind.plural
    for kind in (DISTILLATIONS, JOBS, PODS, CONFIG_MAPS, SERVICES, EVENTS, LEASES, NODES)
)
