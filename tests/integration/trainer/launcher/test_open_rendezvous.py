"""What torch's rendezvous does as torchrun is offered it here: with a real store."""

from __future__ import annotations

import pytest
from torch.distributed.elastic.rendezvous import (
    RendezvousError,
    RendezvousHandler,
    RendezvousParameters,
    rendezvous_handler_registry,
)

from sid_trainer.launch import open_rendezvous
from sid_trainer.launch.rendezvous import BACKEND
from tests.loopback import free_port


def rendezvous(**told: str) -> RendezvousHandler:
    """Of one node."""
    open_rendezvous.offer()
    here = f"127.0.0.1:{free_port()}"
    told = {"is_host": "true", "join_timeout": "60", **told}
    parameters = RendezvousParameters(BACKEND, here, "run", 1, 1, "127.0.0.1", **told)
    return rendezvous_handler_registry.create_handler(parameters)


def test_who_leaves_does_not_close_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    handler = rendezvous()
    assert handler.next_rendezvous().world_size == 1
    assert handler.shutdown()
    assert not handler.is_closed()
    assert handler.next_rendezvous().world_size == 1


def test_a_pod_that_was_replaced_is_not_met_again() -> None:
    """Within a launch, as before one: its address is not among those of its peers any more."""
    with pytest.raises(RendezvousError, match=r"not among the addresses of peers\.invalid"):
        rendezvous(peers_host="peers.invalid").next_rendezvous()
