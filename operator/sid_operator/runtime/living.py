"""Who lives under a name, asked of the API server itself: the caches may be old.

Before anything follows from a resource being gone, this is asked.
"""

from __future__ import annotations

from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import DISTILLATIONS
from sid_operator.runtime.store import Key


async def living_uids(client: KubeClient, key: Key) -> set[str]:
    """Uid of the resource of this name that the API server holds, if it holds one."""
    found, _ = await client.list(DISTILLATIONS, key.namespace, fields=f"metadata.name={key.name}")
    return {obj["metadata"]["uid"] for obj in found}
