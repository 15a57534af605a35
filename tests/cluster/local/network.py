"""The pod network: a bridge of our own, whose address is also the cluster's address.

The bridge is made before anything listens. Kubernetes' own chains in iptables are kube-proxy's,
and are removed by its own clean-up (see cleanup).
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from .settings import BRIDGE, HOST_ADDRESS, POD_CIDR, Paths
from .shell import run

# Packets between pods pass the bridge's netfilter hooks, or the answer from a pod behind a
# Service would reach a pod on the same bridge with the wrong source address.
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
}


def cni_configuration(paths: Paths) -> dict[str, object]:
    """What containerd calls for each pod: a port on our bridge and an address from our range."""
    addresses = {
        "type": "host-local",
        "dataDir": f"{paths.run}/addresses",
        "ranges": [[{"subnet": POD_CIDR, "gateway": HOST_ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "ipam": addresses,
    }
    return {"cniVersion": "1.0.0", "name": "sid-local", "plugins": [bridge]}


def write_cni_configuration(paths: Paths) -> None:
    """Put the configuration where containerd looks for it."""
    directory = paths.config / "cni"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "10-sid-local.conflist").write_text(json.dumps(cni_configuration(paths)))


def create_bridge() -> None:
    """Make the bridge, give it the cluster's address, and let the kernel forward."""
    if not (Path("/proc/sys") / "net/bridge").is_dir():
        run(["modprobe", "br_netfilter"])
    run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    prefix = POD_CIDR.partition("/")[2]
    run(["ip", "address", "add", f"{HOST_ADDRESS}/{prefix}", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    for name, value in SYSCTLS.items():
        (Path("/proc/sys") / name).write_text(value)


def remove_bridge() -> None:
    """Take the bridge away, where there is one."""
    found = subprocess.run(["ip", "link", "show", BRIDGE], capture_output=True, check=False)
    if found.returncode == 0:
        run(["ip", "link", "delete", BRIDGE])
