"""Refusals in an audit log count, but for those of a time in which a role was missing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.permissions import RBAC_GROUP, Source, absences, refused, requests

USER = "system:serviceaccount:here:operator"
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROLE, BINDING = Source("roles", "here", "operator"), Source("rolebindings", "here", "operator")


def at(second: int) -> str:
    return f"2026-11-22T12:00:{second:02}.000000Z"


def event(
    user: str, verb: str, about: dict[str, str], second: int, code: int = 200, query: str = ""
) -> dict[str, Any]:
    """An entry as the API server writes it; it was answered within a second."""
    decision = "forbid" if code == 403 else "allow"
    return {
        "user": {"username": user},
        "verb": verb,
        "requestURI": f"/apis/some/path{query}",
        "objectRef": about,
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": at(second),
        "stageTimestamp": at(second + 1),
        "annotations": {"authorization.k8s.io/decision": decision},
    }


def renewal(second: int) -> dict[str, Any]:
    """The operator's Lease is not renewed, for it may not."""
    about = {"resource": "leases", "namespace": "here", "name": "operator"}
    return event(USER, "update", about, second, code=403)


def change(verb: str, of: Source, second: int, code: int = 200, query: str = "") -> dict[str, Any]:
    """The administrator changes a role or binding."""
    about = {"apiGroup": RBAC_GROUP, "resource": of.resource, "name": of.name}
    return event("admin", verb, about | {"namespace": of.namespace}, second, code, query)


GONE = change("delete", ROLE, 10)
APPLIED = change("patch", ROLE, 20, 201)
CASES = {
    "no role was missing": ([], 15, False),
    "while it was missing": ([GONE, APPLIED], 15, True),
    "as it was deleted": ([GONE, APPLIED], 10, True),
    "as it came back": ([GONE, change("create", ROLE, 20, 201)], 21, True),
    "before": ([GONE, APPLIED], 9, False),
    "after": ([GONE, APPLIED], 22, False),
    "it never came back": ([GONE], 59, True),
    "a change of what is there does not bring it back": (
        [GONE, change("patch", ROLE, 20, 200)],
        40,
        True,
    ),
    "another binding was missing": (
        [change("delete", Source("rolebindings", "there", "operator"), 10)],
        15,
        False,
    ),
    "one of two came back earlier": (
        [GONE, change("delete", BINDING, 11), change("create", BINDING, 12, 201), APPLIED],
        15,
        True,
    ),
    "it was a dry run": ([change("delete", ROLE, 10, query="?dryRun=All")], 15, False),
    "it was not deleted": ([change("delete", ROLE, 10, 404)], 15, False),
}


@pytest.mark.parametrize(("changes", "second", "excused"), CASES.values(), ids=CASES)
def test_refusals_are_excused_while_a_role_is_missing(
    changes: list[dict[str, Any]], second: int, excused: bool, tmp_path: Path
) -> None:
    log = tmp_path / "audit.log"
    log.write_text("".join(json.dumps(one) + "\n" for one in [*changes, renewal(second)]))
    asked = requests(log, USER, since=START)
    told = ["update leases operator in here"]
    assert refused(asked) == told
    assert refused(asked, absences(log, {ROLE, BINDING})) == ([] if excused else told)
