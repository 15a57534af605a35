"""The nodes with GPUs, and who is to look again when they change.

Rules this module keeps:

* Only nodes that tell their GPUs' memory are watched, by that label.
* Nodes tell of themselves every few minutes; only a change of what is kept concerns anybody.
* A change concerns every run on GPUs that is not over, so changes are gathered for some seconds:
  a pool of nodes that grows asks for one look, not for one a node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from sid_operator import reasons
from sid_operator.kube.kinds import Object
from sid_operator.plan.nodes import Nodes, gpu_node
from sid_operator.runtime import trim
from sid_operator.runtime.store import Key, Store, key_of

GATHER_SECONDS = 5.0


class NodeStore(Store):
    """The nodes, and what planning sees in them."""

    def __init__(self) -> None:
        super().__init__(trim=trim.trim_node, owner=key_of)
        self._seen: Nodes | None = None
        self.problem = reasons.NODES_NOT_READ
        """Why nodes are not known, until they are."""

    def nodes(self) -> Nodes:
        """What planning sees."""
        if self._seen is None:
            read = (gpu_node(obj) for obj in self.all())
            items = tuple(node for node in read if node is not None)
            self._seen = Nodes(items, self.problem)
        return self._seen

    def unknown(self, problem: str) -> None:
        """Nodes cannot be seen, for a reason that users are told."""
        self.problem = problem
        self._seen = None

    def put(self, obj: Object) -> Key | None:
        """Keep this version; a change of nothing that is kept concerns nobody."""
        before = self.get(key_of(obj))
        concerned = super().put(obj)
        if concerned is None or (before and _content(before) == _content(self.get(concerned))):
            return None
        self._seen = None
        return concerned

    def remove(self, obj: Object) -> Key | None:
        """Take note that the node is gone."""
        self._seen = None
        return super().remove(obj)

    def replace(self, objects: Iterable[Object], *, version: int) -> set[Key]:
        """Take a full listing for the truth."""
        self.problem = ""
        self._seen = None
        return super().replace(objects, version=version)


class Gathered:
    """Calls once for all the changes of some seconds.

    Args:
        call: What to do.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._waiting = False

    def __call__(self, _: Key) -> None:
        """Take note of a change."""
        if not self._waiting:
            self._waiting = True
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self._fire)

    def _fire(self) -> None:
        self._waiting = False
        self._call()


def _content(obj: Object | None) -> Object:
    held = obj or {}
    return {**held, "metadata": {"labels": held.get("metadata", {}).get("labels")}}
