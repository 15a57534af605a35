"""The table of components keeps the rules that its module states."""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path

import pytest

from tests.cluster.local import components, containerd, network
from tests.cluster.local.settings import (
    HOST_ADDRESS,
    KUBERNETES_SERVICE_ADDRESS,
    MINIO_ADDRESS,
    POD_CIDR,
    SERVICE_CIDR,
    Paths,
)

PATHS = Paths(cache=Path("/cache"), run=Path("/run/x"), checkout=Path("/checkout"))
TABLE = components.table(PATHS, Path("/programs"))
OWN_ADDRESSES = {"127.0.0.1", HOST_ADDRESS}


@pytest.mark.parametrize("component", TABLE, ids=lambda component: component.name)
def test_every_address_on_a_command_line_is_the_machines_own(
    component: components.Component,
) -> None:
    words = [*component.command, component.health]
    addresses = {found for word in words for found in re.findall(r"\d+\.\d+\.\d+\.\d+(?!/)", word)}
    assert addresses <= OWN_ADDRESSES | {SERVICE_CIDR.partition("/")[0]}


def test_configured_listeners_are_the_machines_own() -> None:
    kubelet = components.kubelet_configuration(PATHS)
    proxy = components.proxy_configuration(PATHS)
    listeners = [kubelet["address"], kubelet["healthzBindAddress"]]
    listeners += [str(proxy[key]).split(":")[0] for key in ("healthzBindAddress", "bindAddress")]
    listeners += [str(proxy["metricsBindAddress"]).split(":")[0]]
    assert set(listeners) <= OWN_ADDRESSES


def test_each_component_has_one_name_and_one_health_address() -> None:
    assert len({component.name for component in TABLE}) == len(TABLE)
    assert len({component.health for component in TABLE}) == len(TABLE)


def test_the_api_server_starts_right_after_its_store() -> None:
    assert [component.name for component in TABLE[:2]] == ["etcd", "kube-apiserver"]


def test_fixed_addresses_are_inside_their_ranges() -> None:
    services = ipaddress.ip_network(SERVICE_CIDR)
    assert ipaddress.ip_address(HOST_ADDRESS) in ipaddress.ip_network(POD_CIDR)
    assert ipaddress.ip_address(KUBERNETES_SERVICE_ADDRESS) == services[1]
    assert ipaddress.ip_address(MINIO_ADDRESS) in services


def test_pods_get_addresses_beside_the_bridges_own() -> None:
    content = json.dumps(network.cni_configuration(PATHS))
    (bridge,) = json.loads(content)["plugins"]
    assert bridge["ipam"]["ranges"] == [[{"subnet": POD_CIDR, "gateway": HOST_ADDRESS}]]


def test_the_sweeping_runtime_knows_no_kubernetes() -> None:
    plugin = '"io.containerd.grpc.v1.cri"'
    serving = containerd.configuration(PATHS, "pause:1", with_kubernetes=True)
    sweeping = containerd.configuration(PATHS, "pause:1", with_kubernetes=False)
    assert "disabled_plugins = []" in serving
    assert f"disabled_plugins = [{plugin}]" in sweeping
