"""The components as a table: what each is called with, and how one sees that it works.

Pure: nothing is started here. Every listener is on loopback or on the bridge's own address.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .pki import API_SERVER, AUTHORITY, ETCD, KUBELET_CLIENT, SERVICE_ACCOUNT_KEY
from .settings import (
    API_PORT,
    API_URL,
    CGROUP,
    CLUSTER_DOMAIN,
    HOST_ADDRESS,
    NODE_NAME,
    POD_CIDR,
    SERVICE_CIDR,
    Paths,
)

ETCD_URL = "https://127.0.0.1:2379"
AUDIT_LOG_MEBIBYTES = 200
"""Hours of requests of an operator under test; a line takes about 1 KiB."""


@dataclass(frozen=True)
class Component:
    """One process of the cluster.

    Attributes:
        name: Names its pid record and its log.
        command: The program and its arguments.
        health: A URL that answers 200 when the component works.
    """

    name: str
    command: tuple[str, ...]
    health: str


def table(paths: Paths, programs: Path) -> tuple[Component, ...]:
    """Every component but the container runtime, in the order of starting."""
    return (
        _etcd(paths, programs),
        _api_server(paths, programs),
        _controller_manager(paths, programs),
        _scheduler(paths, programs),
        _kubelet(paths, programs),
        _proxy(paths, programs),
        _dns(paths, programs),
    )


def _etcd(paths: Paths, programs: Path) -> Component:
    stem = f"{paths.pki}/{ETCD.file}"
    return Component(
        name="etcd",
        command=(
            f"{programs}/etcd",
            f"--data-dir={paths.state}/etcd",
            "--unsafe-no-fsync",
            f"--listen-client-urls={ETCD_URL}",
            f"--advertise-client-urls={ETCD_URL}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--listen-metrics-urls=http://127.0.0.1:2381",
            f"--cert-file={stem}.crt",
            f"--key-file={stem}.key",
            "--client-cert-auth",
            f"--trusted-ca-file={paths.pki}/{AUTHORITY}.crt",
            "--logger=zap",
        ),
        health="http://127.0.0.1:2381/health",
    )


def _api_server(paths: Paths, programs: Path) -> Component:
    pki = paths.pki
    return Component(
        name="kube-apiserver",
        command=(
            f"{programs}/kube-apiserver",
            f"--bind-address={HOST_ADDRESS}",
            f"--advertise-address={HOST_ADDRESS}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--allow-privileged",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={pki}/{AUTHORITY}.crt",
            f"--tls-cert-file={pki}/{API_SERVER.file}.crt",
            f"--tls-private-key-file={pki}/{API_SERVER.file}.key",
            f"--etcd-servers={ETCD_URL}",
            f"--etcd-cafile={pki}/{AUTHORITY}.crt",
            f"--etcd-certfile={pki}/{ETCD.file}.crt",
            f"--etcd-keyfile={pki}/{ETCD.file}.key",
            f"--kubelet-certificate-authority={pki}/{AUTHORITY}.crt",
            f"--kubelet-client-certificate={pki}/{KUBELET_CLIENT.file}.crt",
            f"--kubelet-client-key={pki}/{KUBELET_CLIENT.file}.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
            f"--service-account-key-file={pki}/{SERVICE_ACCOUNT_KEY}.key",
            f"--service-account-signing-key-file={pki}/{SERVICE_ACCOUNT_KEY}.key",
            f"--audit-policy-file={paths.config}/audit-policy.json",
            f"--audit-log-path={paths.audit_log}",
            f"--audit-log-maxsize={AUDIT_LOG_MEBIBYTES}",
            "--audit-log-maxbackup=1",
        ),
        health=f"{API_URL}/readyz",
    )


def _controller_manager(paths: Paths, programs: Path) -> Component:
    pki = paths.pki
    return Component(
        name="kube-controller-manager",
        command=(
            f"{programs}/kube-controller-manager",
            *_control_loop(paths, "kube-controller-manager"),
            f"--root-ca-file={pki}/{AUTHORITY}.crt",
            f"--service-account-private-key-file={pki}/{SERVICE_ACCOUNT_KEY}.key",
            f"--cluster-signing-cert-file={pki}/{AUTHORITY}.crt",
            f"--cluster-signing-key-file={pki}/{AUTHORITY}.key",
            "--use-service-account-credentials",
        ),
        health="https://127.0.0.1:10257/healthz",
    )


def _scheduler(paths: Paths, programs: Path) -> Component:
    return Component(
        name="kube-scheduler",
        command=(f"{programs}/kube-scheduler", *_control_loop(paths, "kube-scheduler")),
        health="https://127.0.0.1:10259/healthz",
    )


def _control_loop(paths: Paths, name: str) -> tuple[str, ...]:
    stem = f"{paths.pki}/{name}"
    return (
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        f"--kubeconfig={stem}.kubeconfig",
        f"--authentication-kubeconfig={stem}.kubeconfig",
        f"--authorization-kubeconfig={stem}.kubeconfig",
        f"--tls-cert-file={stem}.crt",
        f"--tls-private-key-file={stem}.key",
    )


def _kubelet(paths: Paths, programs: Path) -> Component:
    return Component(
        name="kubelet",
        command=(
            f"{programs}/kubelet",
            f"--config={paths.config}/kubelet.json",
            f"--kubeconfig={paths.pki}/kubelet.kubeconfig",
            f"--root-dir={paths.state}/kubelet",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={HOST_ADDRESS}",
        ),
        health="http://127.0.0.1:10248/healthz",
    )


def _proxy(paths: Paths, programs: Path) -> Component:
    return Component(
        name="kube-proxy",
        command=(f"{programs}/kube-proxy", f"--config={paths.config}/kube-proxy.json"),
        health="http://127.0.0.1:10256/healthz",
    )


def _dns(paths: Paths, programs: Path) -> Component:
    return Component(
        name="coredns",
        command=(f"{programs}/coredns", f"-conf={paths.config}/Corefile"),
        health="http://127.0.0.1:10254/ready",
    )


def containerd_command(paths: Paths, configuration: str) -> tuple[str, ...]:
    """The container runtime, with one of the two configurations that it is run with."""
    return ("containerd", f"--config={paths.config}/{configuration}")


def audit_policy() -> dict[str, object]:
    """What the API server writes down: who among the pods asked for what, and nothing of it.

    The cluster's own controllers ask all the time and are left out, and so is the administrator,
    but where roles come and go: it tells why a pod was refused.
    """
    controllers, pods = "system:serviceaccounts:kube-system", "system:serviceaccounts"
    roles = ("clusterroles", "clusterrolebindings", "roles", "rolebindings")
    of_roles = {"group": "rbac.authorization.k8s.io", "resources": list(roles)}
    changes = ["create", "patch", "delete"]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "userGroups": [controllers]},
            {"level": "Metadata", "userGroups": [pods]},
            {"level": "Metadata", "verbs": changes, "resources": [of_roles]},
            {"level": "None"},
        ],
    }


def kubelet_configuration(paths: Paths) -> dict[str, object]:
    """The kubelet's configuration: bare machines, cgroup v1 and small disks included."""
    stem = f"{paths.pki}/kubelet"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": HOST_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{paths.pki}/{AUTHORITY}.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "clusterDNS": [HOST_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        "containerRuntimeEndpoint": f"unix://{paths.containerd_socket}",
        "evictionHard": {"imagefs.available": "1%", "nodefs.available": "1%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "healthzBindAddress": "127.0.0.1",
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "maxPods": 60,
        "nodeStatusUpdateFrequency": "5s",
        "oomScoreAdj": 0,
        "podLogsDir": f"{paths.state}/pod-logs",
        "registerNode": True,
        "resolvConf": f"{paths.config}/resolv.conf",
        "serializeImagePulls": False,
        "tlsCertFile": f"{stem}.crt",
        "tlsPrivateKeyFile": f"{stem}.key",
    }


def proxy_configuration(paths: Paths) -> dict[str, object]:
    """kube-proxy's configuration: it sets no kernel parameter but what Services need."""
    untouched = {"maxPerCore": 0, "min": 0}
    timeouts = {"tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": HOST_ADDRESS,
        "clientConnection": {"kubeconfig": f"{paths.pki}/kube-proxy.kubeconfig"},
        "clusterCIDR": POD_CIDR,
        "conntrack": {**untouched, **timeouts},
        "healthzBindAddress": "127.0.0.1:10256",
        "hostnameOverride": NODE_NAME,
        "metricsBindAddress": "127.0.0.1:10249",
        "mode": "iptables",
        "nodePortAddresses": [f"{HOST_ADDRESS}/32"],
        "oomScoreAdj": 0,
    }


def dns_configuration(paths: Paths) -> str:
    """CoreDNS's configuration: the cluster's names and no others, so that no test asks outside."""
    return f"""\
.:53 {{
    bind {HOST_ADDRESS}
    errors
    ready 127.0.0.1:10254
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
        kubeconfig {paths.pki}/coredns.kubeconfig
        pods insecure
        ttl 1
    }}
}}
"""
