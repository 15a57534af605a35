"""metav1 conditions: how they are found and set; what each says is decided where it is judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sid_operator.api.conditions import Condition, ConditionStatus, ConditionType

MAX_CONDITION_MESSAGE = 4096
"""Characters of a condition's message."""
_KNOWN = tuple(kind.value for kind in ConditionType)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a condition should say now."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str


def find(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """The condition of this type."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Iterable[Condition], kind: ConditionType) -> bool:
    """Whether the condition is there and true."""
    condition = find(conditions, kind)
    return condition is not None and condition.status == "True"


def updated(
    before: Iterable[Condition], verdicts: Iterable[Verdict], generation: int, now: datetime
) -> list[Condition]:
    """The conditions with new verdicts; the time of a transition stays while the status stays."""
    result = {condition.type: condition for condition in before}
    for verdict in verdicts:
        held = result.get(verdict.type)
        unchanged = held is not None and held.status == verdict.status
        result[verdict.type] = Condition(
            type=verdict.type,
            status=verdict.status,
            reason=verdict.reason,
            message=verdict.message[:MAX_CONDITION_MESSAGE],
            last_transition_time=held.last_transition_time if held and unchanged else now,
            observed_generation=generation,
        )
    return sorted(result.values(), key=_place)


def seen_at(generation: int, conditions: Iterable[Condition]) -> list[Condition]:
    """The conditions, which say of this generation of the spec what they said of those before."""
    update = {"observed_generation": generation}
    return [one.model_copy(update=update) if one.type in _KNOWN else one for one in conditions]


def _place(condition: Condition) -> tuple[int, str]:
    """Where a condition stands; one that a newer version of the operator left stands last."""
    known = condition.type in _KNOWN
    return (_KNOWN.index(condition.type) if known else len(_KNOWN), condition.type)
