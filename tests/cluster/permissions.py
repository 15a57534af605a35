"""What a service account may do, by its roles, and what it did, by the API server's audit log.

Rule: rights that every service account has (discovery) are left aside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.cluster import kubectl

Object = dict[str, Any]

KINDS = {"ClusterRoleBinding": "", "RoleBinding": "-A"}


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


def account_name(namespace: str, name: str) -> str:
    """The user that a service account is to the API server."""
    return f"system:serviceaccount:{namespace}:{name}"


def granted(namespace: str, name: str) -> set[Grant]:
    """Everything that roles grant a service account by name."""
    return {
        grant
        for kind, scope in KINDS.items()
        for binding in kubectl.get(kind, *filter(None, [scope]))["items"]
        if _binds(binding, namespace, name)
        for grant in _of_role(binding)
    }


def _binds(binding: Object, namespace: str, name: str) -> bool:
    wanted = {"kind": "ServiceAccount", "namespace": namespace, "name": name}
    return any(wanted.items() <= subject.items() for subject in binding.get("subjects") or [])


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
    if not log.exists():
        raise kubectl.CommandError(
            f"no audit log at {log}: this test needs the API server of `make cluster-up`"
        )
    asked: list[Request] = []
    with log.open() as lines:
        for line in lines:
            if user in line:
                asked += _read(json.loads(line), user, since)
    return asked


def _read(event: Object, user: str, since: datetime) -> Iterator[Request]:
    time = datetime.fromisoformat(event["requestReceivedTimestamp"]).astimezone(UTC)
    about = event.get("objectRef")
    if event["user"]["username"] != user or about is None or time < since:
        return
    resource = "/".join(filter(None, [about["resource"], about.get("subresource")]))
    decision = (event.get("annotations") or {}).get("authorization.k8s.io/decision")
    verbs = [event["verb"]]
    if event["verb"] == "patch" and event.get("responseStatus", {}).get("code") == 201:
        verbs.append("create")  # an apply that found nothing
    for verb in verbs:
        yield Request(
            time=time,
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


def refused(grants: set[Grant], asked: list[Request]) -> list[str]:
    """The requests that no grant covers.

    One that the grants of now cover was refused while a test had the chart uninstalled: the
    operator renews its Lease until its pod has ended, and its roles go first.
    """
    return sorted(
        {
            f"{request.verb} {request.resource} {request.name} in {request.namespace or 'all'}"
            for request in asked
            if not any(grant.covers(request) for grant in grants)
        }
    )
