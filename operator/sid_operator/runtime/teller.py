"""Tells what a plan says of a resource: Events, then the status.

Rules this module keeps:

* The status is written only when it differs from the one that the API server holds, and on
  condition of the version that it was planned from: a process with old caches, or no longer
  leading, cannot overwrite newer truth. Who loses plans again.
* A status that is refused is told by an Event, once, for it cannot tell so itself.
"""

from __future__ import annotations

from sid_operator.kube import errors
from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import DISTILLATIONS, Object
from sid_operator.plan.model import Plan, Refusal, status_json
from sid_operator.plan.refusal import status_notice
from sid_operator.runtime.caches import Caches
from sid_operator.runtime.recorder import Recorder


class StatusRefusedError(Exception):
    """The API server would not take a status, whoever asks again."""


class Teller:
    """Tells, and keeps the answer in the caches."""

    def __init__(self, client: KubeClient, caches: Caches, recorder: Recorder) -> None:
        self._client = client
        self._caches = caches
        self._recorder = recorder

    async def tell(self, raw: Object, plan: Plan) -> None:
        """Post the Events of a plan and write its status.

        Args:
            raw: The resource that it was made for.
            plan: What is told.

        Raises:
            NotFoundError: There is no such resource.
            ConflictError: It was changed meanwhile.
            StatusRefusedError: A rule is in the way.
        """
        await self._recorder.post(raw, plan.notices)
        patch = status_patch(raw.get("status") or {}, status_json(plan.status))
        if not patch:
            return
        metadata = raw["metadata"]
        body = {
            "metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
            "status": patch,
        }
        try:
            answer = await self._client.merge(
                DISTILLATIONS, metadata["namespace"], metadata["name"], body, subresource="status"
            )
        except errors.RejectedError as error:
            await self._refused(raw, error)
            raise StatusRefusedError(f"the status is refused: {error}") from error
        self._caches.put(DISTILLATIONS, answer)

    async def _refused(self, raw: Object, error: errors.RejectedError) -> None:
        unanswered = isinstance(error, errors.WebhookError)
        name = raw["metadata"]["name"]
        refusal = Refusal(DISTILLATIONS.name, name, error.message, unanswered)
        await self._recorder.post(raw, [status_notice(refusal)])


def status_patch(held: Object, wanted: Object) -> Object:
    """The JSON merge patch from one object to another; empty where they are equal."""
    patch: Object = {key: None for key in held if key not in wanted}
    for key, value in wanted.items():
        before = held.get(key)
        if before == value:
            continue
        if isinstance(before, dict) and isinstance(value, dict):
            patch[key] = status_patch(before, value)
        else:
            patch[key] = value
    return patch
