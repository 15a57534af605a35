"""The cache: versions, owners, listings, and pods that are gone."""

from __future__ import annotations

from typing import Any

from sid_operator.api.names import LABEL_DISTILLATION
from sid_operator.runtime import trim
from sid_operator.runtime.store import Key, Store, key_of, owner_by_label

OWNER = Key("team", "run")


def child(name: str, version: int, owner: str = "run", **more: Any) -> dict[str, Any]:
    metadata = {
        "namespace": "team",
        "name": name,
        "resourceVersion": str(version),
        "labels": {LABEL_DISTILLATION: owner},
    }
    return {"metadata": metadata, **more}


def store(*, keep_gone: bool = False) -> Store:
    return Store(trim=trim.trim_pod, owner=owner_by_label, keep_gone=keep_gone)


def test_an_older_version_never_replaces_a_newer_one() -> None:
    held = store()
    assert held.put(child("a", 10, status={"phase": "Running"})) == OWNER
    assert held.put(child("a", 9, status={"phase": "Pending"})) is None
    assert held.put(child("a", 10)) is None
    assert held.owned_by(OWNER)[0]["status"] == {"phase": "Running"}
    assert held.put(child("a", 100)) == OWNER  # numbers, not texts


def test_a_late_deletion_does_not_hide_the_successor() -> None:
    held = store()
    held.put(child("a", 20))
    assert held.remove(child("a", 15)) is None
    assert held.get(Key("team", "a")) is not None
    assert held.remove(child("a", 21)) == OWNER
    assert held.owned_by(OWNER) == []


def test_a_listing_concerns_old_and_new_owners() -> None:
    held = store()
    held.put(child("a", 1, owner="old"))
    assert held.replace([child("b", 2, owner="new")]) == {Key("team", "old"), Key("team", "new")}
    assert held.owners() == {Key("team", "new")}


def test_gone_pods_are_kept_until_what_they_said_was_read() -> None:
    held = store(keep_gone=True)
    held.put(child("a", 1))
    held.remove(child("a", 2, status={"phase": "Failed"}))
    read = held.gone(OWNER)
    assert [pod["status"]["phase"] for pod in read] == ["Failed"]
    held.remove(child("b", 3))  # while the first is worked on
    held.forget_gone(OWNER, read)
    assert [key_of(pod) for pod in held.gone(OWNER)] == [Key("team", "b")]
    held.forget_gone(OWNER, [])
    assert held.gone(OWNER)
    held.forget_gone(OWNER)
    assert held.gone(OWNER) == []


def test_objects_without_our_label_are_not_kept() -> None:
    held = store()
    stranger = child("a", 1)
    del stranger["metadata"]["labels"]
    assert held.put(stranger) is None
    assert held.get(Key("team", "a")) is None


def test_only_what_is_read_is_kept() -> None:
    pod = child("a", 1, spec={"containers": [1], "nodeName": "n"}, status={"phase": "Running"})
    pod["metadata"]["managedFields"] = [1]
    pod["metadata"]["annotations"] = {trim.LAST_APPLIED: "{}", "x": "y"}
    kept = trim.trim_pod(pod)
    assert kept["spec"] == {"nodeName": "n"}
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["annotations"] == {"x": "y"}
