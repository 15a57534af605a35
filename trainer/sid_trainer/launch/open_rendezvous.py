"""A rendezvous that no agent closes: whoever is replaced is met again in the same one.

torch's own is closed for good by the first agent that ends, whatever it ended for. The agents that
are left would never hear of that pod's replacement, which would be turned away until all of them
had ended, too; and where workers wait for the lost one in a collective operation, as NCCL's may,
that takes as long as the watchdog's bound. Left open, the rendezvous has the replacement wait for
the next round, for which each agent ends its workers and starts them anew, within seconds.

Nothing waits for the closing. Agents that succeed meet at a barrier of their own; one that waits
for a round that does not come has a time limit (``join_timeout``); and all of it is gone with the
agent of node 0, which keeps the store.

torch knows it as a backend of its own (:data:`~sid_trainer.launch.rendezvous.BACKEND`), by the
interface that it has for that: should that change, no agent starts.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from torch.distributed.elastic.rendezvous import (
    RendezvousError,
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import create_backend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import (
    DynamicRendezvousHandler,
    RendezvousTimeout,
)

from sid_trainer.launch.rendezvous import BACKEND, JOIN_TIMEOUT, PEERS_HOST, not_among

logger = logging.getLogger(__name__)


class OpenRendezvous(DynamicRendezvousHandler):
    """torch's rendezvous, which its agents leave as it is.

    Attributes:
        peers_host: name whose addresses are those of all nodes of the run, if there is one.
    """

    peers_host: str | None = None

    def next_rendezvous(self) -> RendezvousInfo:
        """Meet the other nodes, unless this one is not of them any more.

        Raises:
            RendezvousError: its launcher waits, if this node may join again.
        """
        stranger = not_among(self.peers_host) if self.peers_host else ""
        if stranger:
            raise RendezvousError(stranger)
        return super().next_rendezvous()

    def get_backend(self) -> str:
        """The name that torchrun asked for."""
        return BACKEND

    def num_nodes_waiting(self) -> int:
        """Nodes that came too late for this round. Where there are any, the agent ends it."""
        waiting = super().num_nodes_waiting()
        if waiting:
            logger.warning("new nodes (%d): workers are ended, to start anew with them", waiting)
        return waiting

    def shutdown(self) -> bool:
        """End the agent's part: with its process, its heartbeats end, and others hear of it."""
        return True


def offer() -> None:
    """Make it known to torchrun."""
    rendezvous_handler_registry.register(BACKEND, _open)


def _open(parameters: RendezvousParameters) -> RendezvousHandler:
    backend, store = create_backend(parameters)
    handler: OpenRendezvous = OpenRendezvous.from_backend(
        parameters.run_id,
        store,
        backend,
        parameters.min_nodes,
        parameters.max_nodes,
        parameters.local_addr,
        RendezvousTimeout(join=timedelta(seconds=int(parameters.config[JOIN_TIMEOUT]))),
    )
    handler.peers_host = parameters.config.get(PEERS_HOST)
    return handler
