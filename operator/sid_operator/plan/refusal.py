"""What the API server would not take of a resource: how that is told, and when it is tried again.

Rules this module keeps:

* Nothing is given up: whoever made the rule that is in the way may change it, and a webhook that is
  down comes back.
* It is tried again ever more rarely, for a thousand resources may meet the same rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.api.conditions import Condition, ConditionType
from sid_operator.plan.causes import Cause
from sid_operator.plan.conditions import Verdict, find
from sid_operator.plan.model import Notice, Refusal
from sid_operator.plan.objects import printable, without_own_port

FIRST_RETRY = timedelta(seconds=5)
LAST_RETRY = timedelta(minutes=5)
MAX_DETAILS = 500
"""Characters of the API server's words: an Event takes 1024 with ours."""

_LACKS_A_RIGHT = re.compile(r'User "[^"]*" cannot \S+ resource ')


def cause(refusal: Refusal) -> Cause:
    """Why an object is not as it should be, with the remedy."""
    message = reasons.REFUSAL.format(
        kind=refusal.kind,
        name=refusal.name,
        details=_beginning(refusal.details),
        remedy=_remedy(refusal),
    )
    if refusal.only_tried:
        message = f"{message} {reasons.CHANGE_LEFT}"
    return Cause(reasons.REFUSED, message)


def notice(refusal: Refusal) -> Notice:
    """The Event of a refusal that no status can tell."""
    told = cause(refusal)
    return Notice("Warning", told.reason, told.message)


def status_notice(refusal: Refusal) -> Notice:
    """The Event of a status that was refused: it cannot tell so itself."""
    told = reasons.STATUS_REFUSAL.format(
        details=_beginning(refusal.details), remedy=_remedy(refusal)
    )
    return Notice("Warning", reasons.STATUS_REFUSED, told, known_by=reasons.STATUS_REFUSED)


def accepted(refused: Cause | None) -> Verdict:
    """The condition Accepted of a resource whose spec is valid; why an object of it was refused."""
    if refused is None:
        return Verdict(ConditionType.ACCEPTED, "True", reasons.ACCEPTED, reasons.SPEC_VALID)
    return Verdict(ConditionType.ACCEPTED, "False", refused.reason, refused.message)


def is_told(conditions: Iterable[Condition]) -> bool:
    """Whether a status tells of a refusal."""
    condition = find(conditions, ConditionType.ACCEPTED)
    return condition is not None and condition.reason == reasons.REFUSED


def retried_after(conditions: Iterable[Condition], now: datetime) -> float:
    """Seconds until it is tried again: as long as the conditions tell of it already."""
    condition = find(conditions, ConditionType.ACCEPTED)
    known = condition is not None and condition.reason == reasons.REFUSED
    since = condition.last_transition_time if condition is not None and known else now
    return pause(now - since).total_seconds()


def pause(known_for: timedelta) -> timedelta:
    """The time between two attempts at what has been refused for so long."""
    return min(max(known_for, FIRST_RETRY), LAST_RETRY)


def _remedy(refusal: Refusal) -> str:
    if refusal.unanswered:
        return reasons.REMEDY_WEBHOOK
    if _LACKS_A_RIGHT.search(refusal.details):
        return reasons.REMEDY_ROLE
    return reasons.REMEDY_RULE


def _beginning(text: str) -> str:
    """The beginning of a text, as a sentence: it says who refused."""
    clean = printable(without_own_port(text), limit=len(text) + 1).rstrip(". ")
    return (clean if len(clean) <= MAX_DETAILS else clean[: MAX_DETAILS - 1] + "…") + "."
