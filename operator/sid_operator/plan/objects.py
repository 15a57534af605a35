"""What any object of the API tells of itself: its owner, times, and texts that others wrote.

Rule: a text that is not ours is shortened and rid of control characters before it is told.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sid_operator.api.names import KIND
from sid_operator.kube.kinds import Object

MAX_TEXT = 700
"""Characters of foreign text that go into a message; the Event API takes 1024 in all."""
_OWN_PORT = re.compile(r"\S+:\d+->")


def owned_by(obj: Object, uid: str) -> bool:
    """Whether the object's controlling owner has this uid."""
    owners = obj["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == uid and owner.get("controller") for owner in owners)


def is_leaving(obj: Object, owner: str, owner_uid: str) -> bool:
    """Whether a child is being deleted, or about to be as its owner is gone.

    Args:
        obj: The child.
        owner: Name of the resource that lives.
        owner_uid: Its uid; an owner of that name and another uid is an earlier one.
    """
    owners = obj["metadata"].get("ownerReferences") or []
    left = any(
        one.get("kind") == KIND and one.get("name") == owner and one.get("uid") != owner_uid
        for one in owners
    )
    return left or "deletionTimestamp" in obj["metadata"]


def owner_of(obj: Object) -> str:
    """Uid of the object's controlling owner, or ""."""
    owners = obj["metadata"].get("ownerReferences") or []
    return next((str(one.get("uid")) for one in owners if one.get("controller")), "")


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """The end of a text that fits into a message, without control characters."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= limit else "…" + clean[1 - limit :]


def without_own_port(text: str) -> str:
    """A text without the ports that connections came from: another at each try, it seems news."""
    return _OWN_PORT.sub("", text)


def time_of(text: str) -> datetime:
    """A metav1.Time."""
    return datetime.fromisoformat(text).astimezone(UTC)


def maybe_time(text: str | None) -> datetime | None:
    """A metav1.Time where there is one."""
    return time_of(text) if text else None


def noted_time(text: str | None) -> datetime | None:
    """A time from an annotation, which anybody may have written."""
    try:
        return maybe_time(text)
    except (ValueError, OverflowError):
        return None


def since(condition: Object | None) -> datetime | None:
    """When a condition took its status, where there is one."""
    return maybe_time((condition or {}).get("lastTransitionTime"))
