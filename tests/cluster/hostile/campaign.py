"""Sends the cases, waits until the operator has dealt with them, and judges."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sid_operator.api.names import LABEL_DISTILLATION
from sid_operator.kube.kinds import CONFIG_MAPS, DISTILLATIONS, JOBS, SERVICES
from tests.cluster.control_plane.api import Answer, Api
from tests.cluster.hostile import judge
from tests.cluster.hostile.generate import NAMESPACE, Case

AT_ONCE = 8
STALLED_SECONDS = 120.0
"""Longest that the operator may take over the next of them."""
UPSTREAM = ("resourceVersion should not be set on objects to be created",)
"""Refusals that the API server tells as errors of its own."""

Object = dict[str, Any]


@dataclass
class Outcome:
    """What became of the cases.

    Attributes:
        answers: HTTP status codes of creations.
        problems: Everything that should not be.
        resources: Those that are there in the end.
        jobs: How many Jobs there are in the end.
    """

    answers: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    resources: list[Object] = field(default_factory=list)
    jobs: int = 0


async def carried_out(api: Api, cases: Iterable[Case]) -> Outcome:
    """Send the cases, a few at a time; judge when all are dealt with."""
    outcome = Outcome()
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    await api.demand("POST", "/api/v1/namespaces", body)
    waiting = iter(cases)

    async def send() -> None:
        for each in waiting:
            await _send(api, each, outcome)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(send())
    await _settle(api, outcome)
    await _judge(api, outcome)
    return outcome


async def _send(api: Api, each: Case, outcome: Outcome) -> None:
    path, validation = DISTILLATIONS.path(NAMESPACE), {"fieldValidation": each.validation}
    created = await api.ask("POST", path, each.body, **validation)
    outcome.answers[created.code] += 1
    _note(outcome, each, created)
    if created.code != 201:
        return
    name = created.body["metadata"]["name"]
    for change in each.changes:
        path = DISTILLATIONS.path(NAMESPACE, name, change.subresource)
        answer = await api.ask(
            *(change.method, path, change.body),
            content_type=change.content_type,
            **({} if change.method == "DELETE" else validation),
        )
        _note(outcome, each, answer)


def _note(outcome: Outcome, each: Case, answer: Answer) -> None:
    if answer.code >= 500 and answer.message not in UPSTREAM:
        outcome.problems.append(f"{each.name}: {answer.code} {answer.message:.300}")


async def _settle(api: Api, outcome: Outcome) -> None:
    """Wait until nothing is left to be told, or less and less of it no more."""
    least, deadline = len(outcome.resources), time.monotonic() + STALLED_SECONDS
    while time.monotonic() < deadline:
        outcome.resources = await api.items(DISTILLATIONS)
        left = judge.unsettled(outcome.resources)
        if not left:
            return
        if not least or len(left) < least:
            least, deadline = len(left), time.monotonic() + STALLED_SECONDS
        await asyncio.sleep(2)
    outcome.problems += [f"{name}: ends in no condition" for name in left]


async def _judge(api: Api, outcome: Outcome) -> None:
    selector = {"labelSelector": LABEL_DISTILLATION}
    children = {
        kind: [{**child, "kind": kind.name} for child in await api.items(kind, **selector)]
        for kind in (CONFIG_MAPS, SERVICES, JOBS)
    }
    # A resource may have gone meanwhile, and its children wait for the garbage collector.
    outcome.resources = await api.items(DISTILLATIONS)
    living = {resource["metadata"]["uid"] for resource in outcome.resources}
    for kind, found in children.items():
        children[kind] = [child for child in found if _owners(child) <= living]
    everything = [child for found in children.values() for child in found]
    outcome.jobs = len(children[JOBS])
    outcome.problems += judge.strays(everything, outcome.resources)
    outcome.problems += judge.loose_jobs(children[JOBS])
    outcome.problems += judge.untrue_files(children[CONFIG_MAPS], outcome.resources)


def _owners(child: Object) -> set[str]:
    return {owner["uid"] for owner in child["metadata"].get("ownerReferences") or []}


def summary(outcome: Outcome) -> str:
    """What became of the cases, in a line."""
    reasons = Counter(_accepted(resource) for resource in outcome.resources)
    kinds = Counter(problem.partition(": ")[2] for problem in outcome.problems)
    parts = {
        "answers": dict(outcome.answers),
        "conditions": dict(reasons),
        "jobs": outcome.jobs,
        "problems": dict(kinds.most_common(10)),
    }
    return json.dumps(parts)


def _accepted(resource: Object) -> str:
    conditions = (resource.get("status") or {}).get("conditions") or []
    return next((c["reason"] for c in conditions if c["type"] == "Accepted"), "none")
