"""Where the nodes of a run meet: node 0's name, resolved anew for every launch.

Rules this module keeps:

* A replaced node 0 has another address: nothing here remembers one.
* Group rank 0 is always node 0, where the operator looks for progress. torch orders nodes by the
  address they state, so node 0 states the rendezvous host and every other one a text that sorts
  after any host name; only the address of rank 0 is ever connected to.
* A straggler joins nobody. Pods of another Job have another rendezvous id; a pod that was replaced
  and does not know it, because its node is cut off, is no longer among the Service's addresses.
* Who has failed closes the rendezvous to nobody: its replacement is met there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import time
from collections.abc import Mapping

from sid_trainer.config import LaunchConfig
from sid_trainer.contract import GANG_VARIABLE, FailureReason, TrainerError
from sid_trainer.launch import processes
from sid_trainer.launch.settings import LaunchSettings

NODE_RANK = "JOB_COMPLETION_INDEX"
BACKEND = "sid-open"
"""Of torchrun's rendezvous: :mod:`sid_trainer.launch.open_rendezvous`."""
JOIN_TIMEOUT, PEERS_HOST = "join_timeout", "peers_host"
"""Names of what it is told."""
_POLL_SECONDS = 1.0
_TELL_SECONDS = 15.0
logger = logging.getLogger(__name__)


def node_rank(environ: Mapping[str, str], nodes: int) -> int:
    """Index of this node, which an Indexed Job gives as ``JOB_COMPLETION_INDEX``.

    Raises:
        TrainerError: ``InvalidConfiguration`` when it is no index below ``nodes``.
    """
    text = environ.get(NODE_RANK, "0")
    if not text.isdigit() or int(text) >= nodes:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"{NODE_RANK}={text!r} is no index of the {nodes} nodes that launch.nodes gives",
        )
    return int(text)


def torchrun_arguments(
    launch: LaunchConfig, node: int, run_id: str, settings: LaunchSettings, join_seconds: float
) -> list[str]:
    """Arguments of torchrun for this node; the worker's own follow."""
    endpoint = f"{launch.rendezvous_host}:{launch.rendezvous_port}"
    conf = {
        "is_host": str(node == 0).lower(),
        JOIN_TIMEOUT: max(1, int(join_seconds)),
        "read_timeout": settings.store_seconds,
    }
    if launch.peers_host is not None:
        conf[PEERS_HOST] = launch.peers_host
    if launch.nodes == 1:
        endpoint = "127.0.0.1:0"  # nobody else has to find it, so runs on one machine don't clash
    return [
        f"--nnodes={launch.nodes}",
        f"--nproc-per-node={launch.processes_per_node}",
        f"--rdzv-backend={BACKEND}",
        f"--rdzv-endpoint={endpoint}",
        f"--rdzv-id={run_id}",
        f"--rdzv-conf={','.join(f'{key}={value}' for key, value in conf.items())}",
        f"--local-addr={stated_address(launch, node)}",
        "--max-restarts=0",
        "--monitor-interval=1",
    ]


def stated_address(launch: LaunchConfig, node: int) -> str:
    """The address that makes torch give node 0 the group rank 0."""
    if launch.nodes == 1:
        return "127.0.0.1"
    return launch.rendezvous_host if node == 0 else f"~node-{node:05d}"


def rendezvous_id(name: str, environ: Mapping[str, str]) -> str:
    """Id by which nodes recognise those they are to meet: of the run's name, and its gang's id.

    torchrun makes a folder of this name, and a run's may hold any characters and be long.
    """
    told = json.dumps([name, environ.get(GANG_VARIABLE, "")])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def wait_for_names(launch: LaunchConfig, node: int, seconds: float) -> str:
    """Wait until this node may join, and node 0's name resolves.

    Returns:
        "", or what is missing after ``seconds``.

    Raises:
        processes.Terminated: when the pod is told to end meanwhile.
    """
    if launch.nodes == 1:
        return ""
    started = told = time.monotonic()
    while missing := _missing(launch, node):
        now = time.monotonic()
        if now - started > seconds:
            return missing
        if now - told >= _TELL_SECONDS:
            told = now
            logger.info("waiting: %s", missing)
        processes.pause(_POLL_SECONDS)
    return ""


def _missing(launch: LaunchConfig, node: int) -> str:
    if launch.peers_host is not None and (stranger := not_among(launch.peers_host)):
        return stranger
    if node != 0 and not _addresses(launch.rendezvous_host):
        return f"no address for {launch.rendezvous_host}"
    return ""


def not_among(peers_host: str) -> str:
    """Why this node is none of those of the run, by the addresses of a name, or ""."""
    # The pod knows its own name from its hosts file, whatever became of it in the cluster.
    own = _addresses(socket.gethostname())
    if own & _addresses(peers_host):
        return ""
    return (
        f"{', '.join(sorted(own))} is not among the addresses of {peers_host}: this pod is new, or "
        "was replaced"
    )


def _addresses(host: str) -> set[str]:
    try:
        found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except socket.gaierror:
        return set()
    return {str(address[0]) for *_, address in found}
