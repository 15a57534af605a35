"""The audit log is read to its last whole line, and on from there."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.scale.audit import AuditLog, on_behalf


def event(user: str, verb: str, resource: str, name: str = "run", **more: object) -> str:
    """A line as the API server writes it."""
    target = {"resource": resource, "namespace": "team", "name": name, **more}
    return json.dumps(
        {
            "user": {"username": user},
            "verb": verb,
            "objectRef": target,
            "responseStatus": {"code": 200},
            "requestReceivedTimestamp": "2026-11-22T12:00:00.250000Z",
            "stageTimestamp": "2026-11-22T12:00:01.000000Z",
        }
    )


def test_reads_whole_lines_and_reads_on(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    whole, cut = event("us", "patch", "jobs", subresource="status"), event("us", "get", "pods")
    file.write_text(f"{whole}\n{cut[:50]}")
    audit = AuditLog(file)
    (first,) = audit.news()
    assert (first.what, first.namespace, first.name) == ("jobs/status", "team", "run")
    assert first.answered - first.received == 0.75
    with file.open("a") as log:
        log.write(f"{cut[50:]}\n{event('them', 'get', 'pods')}\n")
    assert [each.verb for each in audit.news({"us"})] == ["get"]
    assert audit.news() == []


def test_watches_leases_and_discovery_are_not_for_the_sake_of_resources(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    discovery = json.loads(event("us", "get", "pods"))
    del discovery["objectRef"]
    lines = [
        event("us", "watch", "pods"),
        event("us", "update", "leases"),
        json.dumps(discovery),
        event("us", "delete", "jobs"),
    ]
    file.write_text("\n".join(lines) + "\n")
    (left,) = on_behalf(AuditLog(file).news())
    assert left.writes
    assert left.what == "jobs"
