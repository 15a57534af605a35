"""The components of a control plane as a table; pure, nothing is started here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.local.components import Component
from tests.cluster.local.pki import API_SERVER, AUTHORITY, ETCD, SERVICE_ACCOUNT_KEY, Identity
from tests.cluster.local.settings import CLUSTER_DOMAIN, SERVICE_CIDR

CONTROLLER_MANAGER = Identity(
    file="kube-controller-manager",
    user="system:kube-controller-manager",
    names=("IP:127.0.0.1",),
)
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [{"level": "Metadata"}],
}
"""Who asked for what, and when: no bodies."""


@dataclass(frozen=True)
class Ports:
    """Loopback ports of one control plane."""

    etcd: int
    etcd_peers: int
    etcd_health: int
    api_server: int
    controllers: int

    @property
    def api_url(self) -> str:
        """Where the API server is."""
        return f"https://127.0.0.1:{self.api_server}"


def etcd(root: Path, programs: Path, ports: Ports) -> Component:
    """The store; it forgets everything with the directory, so it need not wait for the disk."""
    stem = f"{root}/pki/{ETCD.file}"
    url = f"https://127.0.0.1:{ports.etcd}"
    peers = f"http://127.0.0.1:{ports.etcd_peers}"
    return Component(
        name="etcd",
        command=(
            f"{programs}/etcd",
            f"--data-dir={root}/etcd",
            "--unsafe-no-fsync",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            f"--listen-metrics-urls=http://127.0.0.1:{ports.etcd_health}",
            f"--cert-file={stem}.crt",
            f"--key-file={stem}.key",
            "--client-cert-auth",
            f"--trusted-ca-file={root}/pki/{AUTHORITY}.crt",
            "--logger=zap",
        ),
        health=f"http://127.0.0.1:{ports.etcd_health}/health",
    )


def api_server(root: Path, programs: Path, ports: Ports) -> Component:
    """The API server; it writes down who asked for what."""
    pki = f"{root}/pki"
    key = f"{pki}/{SERVICE_ACCOUNT_KEY}.key"
    return Component(
        name="kube-apiserver",
        command=(
            f"{programs}/kube-apiserver",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={ports.api_server}",
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--authorization-mode=RBAC",
            f"--client-ca-file={pki}/{AUTHORITY}.crt",
            f"--tls-cert-file={pki}/{API_SERVER.file}.crt",
            f"--tls-private-key-file={pki}/{API_SERVER.file}.key",
            f"--etcd-servers=https://127.0.0.1:{ports.etcd}",
            f"--etcd-cafile={pki}/{AUTHORITY}.crt",
            f"--etcd-certfile={pki}/{ETCD.file}.crt",
            f"--etcd-keyfile={pki}/{ETCD.file}.key",
            f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--audit-policy-file={root}/audit-policy.json",
            f"--audit-log-path={root}/audit.log",
        ),
        health=f"{ports.api_url}/readyz",
    )


def controller_manager(
    root: Path, programs: Path, ports: Ports, controllers: Sequence[str]
) -> Component:
    """Some of upstream's controllers, each under its own service account.

    Their requests are not held back, so that what is measured waits for nobody.
    """
    stem = f"{root}/pki/{CONTROLLER_MANAGER.file}"
    return Component(
        name="kube-controller-manager",
        command=(
            f"{programs}/kube-controller-manager",
            f"--controllers={','.join(controllers)}",
            "--bind-address=127.0.0.1",
            f"--secure-port={ports.controllers}",
            "--leader-elect=false",
            "--kube-api-qps=1000",
            "--kube-api-burst=1000",
            "--concurrent-job-syncs=20",
            f"--kubeconfig={stem}.kubeconfig",
            f"--authentication-kubeconfig={stem}.kubeconfig",
            f"--authorization-kubeconfig={stem}.kubeconfig",
            f"--tls-cert-file={stem}.crt",
            f"--tls-private-key-file={stem}.key",
            f"--root-ca-file={root}/pki/{AUTHORITY}.crt",
            f"--service-account-private-key-file={root}/pki/{SERVICE_ACCOUNT_KEY}.key",
            "--use-service-account-credentials",
        ),
        health=f"https://127.0.0.1:{ports.controllers}/healthz",
    )
