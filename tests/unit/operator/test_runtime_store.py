"""The cache: versions, owners, listings, and pods that are gone."""

from __future__ import annotations

from typing import Any

from sid_operator.api.names import LABEL_DISTILLATION
from sid_operator.runtime import trim
from sid_operator.runtime.store import Key, Store, key_of, owner_by_label, owner_of_pod
from tests.unit.operator import world

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


def test_an_answer_that_comes_after_the_deletion_brings_nothing_back() -> None:
    held = store()
    held.put(child("a", 100))
    held.remove(child("a", 102))
    assert held.put(child("a", 101)) is None
    assert held.all() == []
    assert held.put(child("a", 103)) == OWNER  # made again


def test_an_answer_that_comes_after_a_listing_brings_nothing_back() -> None:
    """It was deleted while no watch was open."""
    held = store()
    held.replace([child("b", 90)], version=102)
    assert held.put(child("a", 101)) is None
    assert held.put(child("b", 101)) == OWNER
    held.replace([], version=50)  # the API server was restored from a backup
    assert held.put(child("a", 51)) == OWNER


def orphaned(pod: dict[str, Any], version: int) -> dict[str, Any]:
    """The pod after ``kubectl delete job --cascade=orphan``."""
    left = {k: v for k, v in pod["metadata"].items() if k != "ownerReferences"}
    return pod | {"metadata": left | {"resourceVersion": str(version)}}


def test_a_pod_that_lost_its_owner_is_known_until_it_is_gone() -> None:
    held = Store(trim=trim.trim_pod, owner=owner_of_pod, keep_gone=True)
    pod, owner = world.raw_pod(0), Key(world.NAMESPACE, world.NAME)
    pod["metadata"]["resourceVersion"] = "10"
    held.put(pod)
    assert held.put(orphaned(pod, 11)) == owner
    assert "ownerReferences" not in held.owned_by(owner)[0]["metadata"]
    held.replace([orphaned(pod, 11)], version=12)
    assert len(held.owned_by(owner)) == 1
    another = orphaned(pod, 13)
    another["metadata"]["uid"] = "somebody-elses"
    assert held.remove(another) is None
    assert held.remove(orphaned(pod, 14)) == owner
    assert held.owned_by(owner) == []


def test_an_object_that_changes_hands_is_found_at_one_owner() -> None:
    held = store()
    held.put(child("a", 1, owner="old"))
    assert held.put(child("a", 2, owner="new")) == Key("team", "new")
    assert held.owned_by(Key("team", "old")) == []
    assert held.remove(child("a", 3, owner="new")) == Key("team", "new")
    assert held.owned_by(Key("team", "new")) == []


def test_what_turned_out_not_to_be_there_is_dropped() -> None:
    held = store()
    obj = child("a", 1)
    obj["metadata"]["uid"] = "first"
    held.put(obj)
    held.forget({"metadata": obj["metadata"] | {"uid": "second"}})
    assert held.owned_by(OWNER)
    held.forget(obj)
    assert held.owned_by(OWNER) == []


def test_a_listing_concerns_old_and_new_owners() -> None:
    held = store()
    held.put(child("a", 1, owner="old"))
    concerned = held.replace([child("b", 2, owner="new")], version=3)
    assert concerned == {Key("team", "old"), Key("team", "new")}
    assert held.owned_by(Key("team", "old")) == []
    assert len(held.owned_by(Key("team", "new"))) == 1


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
