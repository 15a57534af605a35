"""What a service account may do, by its roles, and what it did, by the API server's audit log.

Rule: rights that every service account has (discovery) are left aside.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.cluster import kubectl

Object = dict[str, Any]

KINDS = {"ClusterRoleBinding": "", "RoleBinding": "-A"}
RBAC_GROUP = "rbac.authorization.k8s.io"
FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, order=True)
class Grant:
    """One verb on one resource.

    Attributes:
        namespace: Where it holds; "" for everywhere.
        resource: With its subresource where there is one (``jobs/status``).
        name: The one object that it is for; "" for all.
    """

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def covers(self, request: Request) -> bool:
        """Whether a request needs, or could do with, this grant."""
        wanted = (request.verb, request.group, request.resource)
        return (
            wanted == (self.verb, self.group, self.resource)
            and self.namespace in ("", request.namespace)
            and self.name in ("", request.name)
        )

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {what} {self.name}".strip() + where


@dataclass(frozen=True)
class Request:
    """A request that was authorised, or refused by the authoriser."""

    time: datetime
    allowed: bool
    verb: str
    group: str
    resource: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Absence:
    """A time in which a role or binding was not there, or about to go or to come."""

    since: datetime
    until: datetime

    def covers(self, time: datetime) -> bool:
        """Whether a moment lies in it."""
        return self.since <= time <= self.until


def account_name(namespace: str, name: str) -> str:
    """The user that a service account is to the API server."""
    return f"system:serviceaccount:{namespace}:{name}"


@dataclass(frozen=True, order=True)
class Source:
    """A role, or what binds one to an account.

    Attributes:
        resource: Plural of its kind.
        namespace: Where it is; "" for those of the cluster.
    """

    resource: str
    namespace: str
    name: str


def granted(namespace: str, name: str) -> set[Grant]:
    """Everything that roles grant a service account by name."""
    return {grant for binding in _bindings(namespace, name) for grant in _of_role(binding)}


def sources(namespace: str, name: str) -> set[Source]:
    """What grants a service account its rights: without any of it, some are missing."""
    found = set()
    for binding in _bindings(namespace, name):
        metadata, role = binding["metadata"], binding["roleRef"]
        place = metadata.get("namespace", "")
        found.add(Source(f"{binding['kind'].lower()}s", place, metadata["name"]))
        of_role = place if role["kind"] == "Role" else ""
        found.add(Source(f"{role['kind'].lower()}s", of_role, role["name"]))
    return found


def _bindings(namespace: str, name: str) -> Iterator[Object]:
    wanted = {"kind": "ServiceAccount", "namespace": namespace, "name": name}
    for kind, scope in KINDS.items():
        for binding in kubectl.get(kind, *filter(None, [scope]))["items"]:
            if any(wanted.items() <= one.items() for one in binding.get("subjects") or []):
                yield binding


def _of_role(binding: Object) -> Iterator[Grant]:
    reference = binding["roleRef"]
    namespace = binding["metadata"].get("namespace", "")
    place = ["-n", namespace] if reference["kind"] == "Role" else []
    role = kubectl.get(reference["kind"], reference["name"], *place)
    for rule in role["rules"]:
        for group in rule.get("apiGroups", []):
            for resource in rule.get("resources", []):
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames") or [""]:
                        yield Grant(verb, group, resource, namespace, name)


def requests(log: Path, user: str, since: datetime) -> list[Request]:
    """What a user asked for since a moment, by an audit log; objects only."""
    return [
        request
        for event in _events(log, user)
        if event["user"]["username"] == user
        for request in _read(event)
        if request.time >= since
    ]


def absences(log: Path, of: Collection[Source]) -> list[Absence]:
    """When one of these roles and bindings was not there, by an audit log."""
    found: list[Absence] = []
    gone: dict[Source, datetime] = {}
    for event in _events(log, RBAC_GROUP):
        about = event.get("objectRef") or {}
        source = Source(*(about.get(part, "") for part in ("resource", "namespace", "name")))
        if source not in of or not _carried_out(event):
            continue
        if event["verb"] == "delete":
            gone.setdefault(source, _time(event, "requestReceivedTimestamp"))
        elif source in gone and _creates(event):
            found.append(Absence(gone.pop(source), _time(event, "stageTimestamp")))
    return found + [Absence(since, FOREVER) for since in gone.values()]


def _events(log: Path, word: str) -> Iterator[Object]:
    """The entries of an audit log in which a word stands, answers only."""
    if not log.exists():
        raise kubectl.CommandError(
            f"no audit log at {log}: this test needs the API server of `make cluster-up`"
        )
    with log.open() as lines:
        for line in lines:
            if word in line:
                yield json.loads(line)


def _code(event: Object) -> int:
    return int((event.get("responseStatus") or {}).get("code", 0))


def _carried_out(event: Object) -> bool:
    return _code(event) < 300 and "dryRun=" not in event["requestURI"]


def _creates(event: Object) -> bool:
    """Whether the object was not there before: an apply creates as well."""
    return event["verb"] == "create" or (event["verb"] == "patch" and _code(event) == 201)


def _time(event: Object, field: str) -> datetime:
    return datetime.fromisoformat(event[field]).astimezone(UTC)


def _read(event: Object) -> Iterator[Request]:
    about = event.get("objectRef")
    if about is None:
        return
    resource = "/".join(filter(None, [about["resource"], about.get("subresource")]))
    decision = (event.get("annotations") or {}).get("authorization.k8s.io/decision")
    verbs = [event["verb"]]
    if event["verb"] == "patch" and _creates(event):
        verbs.append("create")
    for verb in verbs:
        yield Request(
            time=_time(event, "requestReceivedTimestamp"),
            allowed=decision != "forbid",
            verb=verb,
            group=about.get("apiGroup", ""),
            resource=resource,
            namespace=about.get("namespace", ""),
            name=about.get("name", ""),
        )


def unused(grants: set[Grant], asked: list[Request]) -> list[str]:
    """The grants that no request needed."""
    allowed = [request for request in asked if request.allowed]
    return sorted(str(g) for g in grants if not any(g.covers(request) for request in allowed))


def refused(asked: Iterable[Request], absent: Sequence[Absence] = ()) -> list[str]:
    """The requests that the authoriser refused.

    Args:
        asked: All requests of the account.
        absent: When roles of it were missing on purpose, as a test uninstalled the chart: its
            operator asks on until its pod has ended, and its roles go first.
    """
    return sorted(
        {
            f"{request.verb} {request.resource} {request.name} in {request.namespace or 'all'}"
            for request in asked
            if not request.allowed and not any(one.covers(request.time) for one in absent)
        }
    )
