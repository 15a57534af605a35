"""Carries out the actions of a plan.

Rule: an object that the caches do not know is applied on condition that there is none, because
applying takes over whatever bears the name: it may be somebody else's, which the label-selected
caches cannot see.
"""

from __future__ import annotations

import logging

from sid_operator.api.names import ANNOTATION_HASH
from sid_operator.kube import errors
from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import Kind, Object
from sid_operator.plan.model import Action, Apply, Delete, Merge, Refusal, Try
from sid_operator.plan.refusal import cause
from sid_operator.resources.cleanup import mark_patch
from sid_operator.runtime.caches import Caches
from sid_operator.runtime.recorder import Recorder
from sid_operator.runtime.store import Key
from sid_operator.runtime.trials import Trials

logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """The API server would not take a child, whoever asks again."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(cause(refusal).message)
        self.refusal = refusal


class FoundError(Exception):
    """There is an object of this name that was not seen before: plan again."""

    def __init__(self, kind: Kind, found: Object) -> None:
        super().__init__(f"{kind.name} {found['metadata']['name']} exists")
        self.kind = kind
        self.found = found


class Executor:
    """Changes children, and keeps the answers in the caches."""

    def __init__(self, client: KubeClient, caches: Caches, recorder: Recorder) -> None:
        self._client = client
        self._caches = caches
        self._recorder = recorder
        self._trials = Trials(client)

    def seconds_left(self, key: Key) -> float | None:
        """Seconds until it is worth asking again for what was only tried, or None."""
        return self._trials.seconds_left(key)

    def settled(self, key: Key) -> None:
        """Nothing is to be tried under this name any more."""
        self._trials.forget(key)

    async def execute(self, resource: Object, action: Action) -> None:
        """Carry out one action.

        Raises:
            RefusedError: The API server would not take the child.
            FoundError: The child that was to be created is there.
        """
        if isinstance(action, Try):
            refused = await self._trials.refusal(action.kind, action.manifest)
            if refused is not None:
                raise RefusedError(_refusal(action, refused))
            return
        try:
            await self._change(resource["metadata"]["namespace"], action)
        except errors.RejectedError as error:
            told = RefusedError(_refusal(action, error))
            logger.warning("%s", told)
            raise told from error
        if action.notice is not None:
            await self._recorder.post(resource, [action.notice])

    async def _change(self, namespace: str, action: Action) -> None:
        if isinstance(action, Apply):
            create = self._create if action.creates else self._client.apply
            applied = await create(action.kind, action.manifest)
            self._caches.put(action.kind, applied)
            if action.marked:
                await self._mark(action.kind, applied["metadata"])
        elif isinstance(action, Merge):
            answer = await self._client.merge(action.kind, namespace, action.name, action.patch)
            self._caches.put(action.kind, answer)
        elif isinstance(action, Delete):
            await self._client.delete(action.kind, namespace, action.name, uid=action.uid)

    async def _mark(self, kind: Kind, metadata: Object) -> None:
        namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
        self._caches.put(kind, await self._client.merge(kind, namespace, name, mark_patch(uid)))

    async def _create(self, kind: Kind, manifest: Object) -> Object:
        try:
            return await self._client.apply(kind, manifest, creates=True)
        except errors.ConflictError:
            # A list of one: the right to list is there already, the right to get is not needed.
            metadata = manifest["metadata"]
            selector = f"metadata.name={metadata['name']}"
            found, _ = await self._client.list(kind, metadata["namespace"], fields=selector)
            if not found:
                raise
            if not _was_created(found[0], manifest):
                raise FoundError(kind, found[0]) from None
            return found[0]


def _was_created(found: Object, manifest: Object) -> bool:
    """Whether an object is the one that was to be created: the first answer was lost."""
    held, wanted = found["metadata"], manifest["metadata"]
    owners = [owner["uid"] for owner in held.get("ownerReferences") or []]
    return owners == [owner["uid"] for owner in wanted.get("ownerReferences") or []] and (
        (held.get("annotations") or {}).get(ANNOTATION_HASH)
        == wanted["annotations"][ANNOTATION_HASH]
        and "deletionTimestamp" not in held
    )


def _refusal(action: Action, error: errors.RejectedError) -> Refusal:
    """What is told of an action that was refused."""
    return Refusal(
        action.kind.name,
        _name(action),
        error.message,
        unanswered=isinstance(error, errors.WebhookError),
        only_tried=isinstance(action, Try),
    )


def _name(action: Action) -> str:
    if isinstance(action, Apply | Try):
        return str(action.manifest["metadata"]["name"])
    return action.name
