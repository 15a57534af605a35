"""What the API server was last seen to hold, by kind: the cache that planning reads.

Rules this module keeps:

* Only the fields that somebody reads are kept.
* An older version never replaces a newer one: answers to our own writes go in here too, and may
  overtake the watch, or be overtaken by it. One that comes after the object's deletion was heard
  must not bring it back: what is not held, and is no newer than the last deletion or listing, is
  gone, for a watch tells of all objects in the order of their versions.
* An object belongs to whom it belonged as long as it lives, even where it says so no longer
  (``kubectl delete job --cascade=orphan`` takes the owner off its pods): it is still there.
* Pods that are gone are remembered until their last words were read (:meth:`Store.forget_gone`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sid_operator.api.names import LABEL_DISTILLATION, LABEL_INDEX
from sid_operator.kube.kinds import Object

_INDEX = re.compile(r"[0-9]{1,6}")


class Key(NamedTuple):
    """Names a resource, or any object, within its kind."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


Trim = Callable[[Object], Object]
Owner = Callable[[Object], Key | None]


def key_of(obj: Object) -> Key:
    """Namespace and name of an object."""
    metadata = obj["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])


def owner_by_label(obj: Object) -> Key | None:
    """The resource that a child belongs to, as its label says."""
    metadata = obj["metadata"]
    name = (metadata.get("labels") or {}).get(LABEL_DISTILLATION)
    return Key(metadata["namespace"], name) if name else None


def owner_of_pod(obj: Object) -> Key | None:
    """The resource whose Job made a pod; None for one that somebody else gave our label."""
    key, metadata = owner_by_label(obj), obj["metadata"]
    if key is None or not _INDEX.fullmatch(metadata["labels"].get(LABEL_INDEX, "")):
        return None
    owners = metadata.get("ownerReferences") or []
    job = next((one for one in owners if one.get("controller") and one["kind"] == "Job"), None)
    return key if job is not None and job["name"] == key.name else None


class Store:
    """Objects of one kind, found by their own key and by the resource that they belong to.

    Args:
        trim: Gives the part of an object that is kept.
        owner: Gives the resource that an object belongs to; objects without one are not kept.
        keep_gone: Remember deleted objects until :meth:`forget_gone`.
    """

    def __init__(self, *, trim: Trim, owner: Owner, keep_gone: bool = False) -> None:
        self._trim = trim
        self._owner = owner
        self._keep_gone = keep_gone
        self._objects: dict[Key, Object] = {}
        self._owners: dict[Key, Key] = {}
        self._owned: dict[Key, set[Key]] = {}
        self._gone: dict[Key, list[Object]] = {}
        self._complete_to = 0
        """Version up to which what is not held is known not to be there."""

    def get(self, key: Key) -> Object | None:
        """The object of this name."""
        return self._objects.get(key)

    def all(self) -> list[Object]:
        """All objects, by name."""
        return [self._objects[key] for key in sorted(self._objects)]

    def owned_by(self, owner: Key) -> list[Object]:
        """The objects that belong to a resource, by name."""
        return [self._objects[key] for key in sorted(self._owned.get(owner, ()))]

    def gone(self, owner: Key) -> list[Object]:
        """Objects of a resource that were deleted, as they were last seen."""
        return list(self._gone.get(owner, ()))

    def forget_gone(self, owner: Key, objects: Iterable[Object] | None = None) -> None:
        """Drop these objects, or all, from what :meth:`gone` tells."""
        held = self._gone.pop(owner, [])
        told = {id(obj) for obj in (held if objects is None else objects)}
        left = [obj for obj in held if id(obj) not in told]
        if left:
            self._gone[owner] = left

    def put(self, obj: Object) -> Key | None:
        """Keep this version; gives the resource concerned, or None where nothing changed."""
        key, owner = key_of(obj), self._owner_of(obj)
        held = self._objects.get(key)
        known = self._complete_to if held is None else _version(held)
        if owner is None or known >= _version(obj):
            return None
        self._keep(key, obj, owner)
        return owner

    def remove(self, obj: Object) -> Key | None:
        """Take note that the object was deleted; gives the resource concerned.

        A deletion older than the version held concerns an earlier object of the same name.
        """
        self._complete_to = max(self._complete_to, _version(obj))
        key, owner = key_of(obj), self._owner_of(obj)
        held = self._objects.get(key)
        if owner is None or (held is not None and _version(held) > _version(obj)):
            return None
        self._drop(key)
        if self._keep_gone:
            self._gone.setdefault(owner, []).append(self._trim(obj))
        return owner

    def forget(self, obj: Object) -> None:
        """Drop an object that turned out not to be there, unless another bears its name now."""
        key, uid = key_of(obj), obj["metadata"]["uid"]
        held = self._objects.get(key)
        if held is not None and held["metadata"]["uid"] == uid:
            self._drop(key)

    def replace(self, objects: Iterable[Object], *, version: int) -> set[Key]:
        """Take a full listing for the truth; gives all resources concerned, old and new.

        Args:
            objects: All that there are.
            version: That of the listing.
        """
        before = set(self._owned)
        kept = [(obj, self._owner_of(obj)) for obj in objects]
        self._objects.clear()
        self._owners.clear()
        self._owned.clear()
        for obj, owner in kept:
            if owner is not None:
                self._keep(key_of(obj), obj, owner)
        self._complete_to = version
        return before | set(self._owned)

    def _owner_of(self, obj: Object) -> Key | None:
        """Whom an object belongs to, or belonged to where it is held and names nobody now."""
        owner, key = self._owner(obj), key_of(obj)
        if owner is not None or key not in self._objects:
            return owner
        same = self._objects[key]["metadata"].get("uid") == obj["metadata"].get("uid")
        return self._owners[key] if same else None

    def _keep(self, key: Key, obj: Object, owner: Key) -> None:
        self._drop(key)
        self._objects[key] = self._trim(obj)
        self._owners[key] = owner
        self._owned.setdefault(owner, set()).add(key)

    def _drop(self, key: Key) -> None:
        self._objects.pop(key, None)
        owner = self._owners.pop(key, None)
        if owner is None:
            return
        self._owned[owner].discard(key)
        if not self._owned[owner]:
            del self._owned[owner]


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])
