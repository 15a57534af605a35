"""Keys and certificates of one life of the cluster, made by the openssl program.

One throw-away authority signs everything; it is made anew each time the cluster starts from
nothing, so no credential outlives the cluster that it opens. Keys are readable by root alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .settings import API_URL, CLUSTER_DOMAIN, HOST_ADDRESS, KUBERNETES_SERVICE_ADDRESS, NODE_NAME
from .shell import run

VALID_DAYS = "365"
AUTHORITY = "ca"
SERVICE_ACCOUNT_KEY = "service-account"


@dataclass(frozen=True)
class Identity:
    """Somebody with a certificate: a client (user and group) or a server (names), or both."""

    file: str
    user: str
    group: str = ""
    names: Sequence[str] = ()

    @property
    def subject(self) -> str:
        """The certificate's subject; Kubernetes reads user and group from it."""
        organisation = f"/O={self.group}" if self.group else ""
        return f"{organisation}/CN={self.user}"

    @property
    def extensions(self) -> str:
        """The certificate's extensions, in openssl's configuration language."""
        lines = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=clientAuth,serverAuth"]
        if self.names:
            lines.append(f"subjectAltName={','.join(self.names)}")
        return "\n".join(lines) + "\n"


API_SERVER = Identity(
    file="kube-apiserver",
    user="kube-apiserver",
    names=(
        f"IP:{HOST_ADDRESS}",
        f"IP:{KUBERNETES_SERVICE_ADDRESS}",
        "IP:127.0.0.1",
        "DNS:kubernetes",
        "DNS:kubernetes.default",
        "DNS:kubernetes.default.svc",
        f"DNS:kubernetes.default.svc.{CLUSTER_DOMAIN}",
    ),
)
ETCD = Identity(file="etcd", user="etcd", names=("IP:127.0.0.1",))
KUBELET = Identity(
    file="kubelet",
    user=f"system:node:{NODE_NAME}",
    group="system:nodes",
    names=(f"DNS:{NODE_NAME}", f"IP:{HOST_ADDRESS}"),
)
KUBELET_CLIENT = Identity(
    file="kubelet-client", user="kube-apiserver-kubelet-client", group="system:masters"
)
ADMIN = Identity(file="admin", user="local-admin", group="system:masters")
COREDNS = Identity(file="coredns", user="system:coredns")
CLIENTS = (
    ADMIN,
    COREDNS,
    KUBELET,
    Identity(
        file="kube-controller-manager",
        user="system:kube-controller-manager",
        names=("IP:127.0.0.1",),
    ),
    Identity(file="kube-scheduler", user="system:kube-scheduler", names=("IP:127.0.0.1",)),
    Identity(file="kube-proxy", user="system:kube-proxy"),
)
SERVERS = (API_SERVER, ETCD, KUBELET_CLIENT)
IDENTITIES = (*SERVERS, *CLIENTS)


def create(
    directory: Path,
    *,
    servers: Sequence[Identity] = SERVERS,
    clients: Sequence[Identity] = CLIENTS,
    url: str = API_URL,
) -> None:
    """Make the authority, everybody's certificate, and a kubeconfig for each client.

    Args:
        directory: Where all of it goes; it must not be there yet.
        servers: Who has a certificate but no kubeconfig.
        clients: Who has both.
        url: Where the kubeconfigs find the API server.
    """
    directory.mkdir(parents=True, mode=0o700)
    _new_key(directory / f"{AUTHORITY}.key")
    run(authority_command(directory))
    _new_key(directory / f"{SERVICE_ACCOUNT_KEY}.key")
    for identity in (*servers, *clients):
        _issue(directory, identity)
    for client in clients:
        _write_secret(directory / f"{client.file}.kubeconfig", kubeconfig(directory, client, url))


def authority_command(directory: Path) -> list[str]:
    """The openssl command that makes the authority's own certificate."""
    return [
        *("openssl", "req", "-x509", "-new", "-days", VALID_DAYS),
        *("-key", f"{directory}/{AUTHORITY}.key", "-out", f"{directory}/{AUTHORITY}.crt"),
        *("-subj", "/CN=sid-local"),
        *("-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"),
    ]


def _issue(directory: Path, identity: Identity) -> None:
    stem = directory / identity.file
    _new_key(stem.with_suffix(".key"))
    stem.with_suffix(".ext").write_text(identity.extensions)
    request = run(request_command(directory, identity))
    run(signing_command(directory, identity), text=request)


def request_command(directory: Path, identity: Identity) -> list[str]:
    """The openssl command that prints a signing request."""
    key = f"{directory}/{identity.file}.key"
    return ["openssl", "req", "-new", "-key", key, "-subj", identity.subject]


def signing_command(directory: Path, identity: Identity) -> list[str]:
    """The openssl command that signs the request on its standard input."""
    stem = f"{directory}/{identity.file}"
    return [
        *("openssl", "x509", "-req", "-days", VALID_DAYS, "-out", f"{stem}.crt"),
        *("-CA", f"{directory}/{AUTHORITY}.crt", "-CAkey", f"{directory}/{AUTHORITY}.key"),
        *("-CAcreateserial", "-extfile", f"{stem}.ext"),
    ]


def _new_key(file: Path) -> None:
    file.touch(mode=0o600)
    run(["openssl", "ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", file])


def kubeconfig(directory: Path, client: Identity, url: str) -> str:
    """A kubeconfig that carries its certificates in it, so that it can be copied about."""
    user = {
        "client-certificate-data": _base64(directory / f"{client.file}.crt"),
        "client-key-data": _base64(directory / f"{client.file}.key"),
    }
    cluster = {
        "server": url,
        "certificate-authority-data": _base64(directory / f"{AUTHORITY}.crt"),
    }
    name = "sid-local"
    context = {"cluster": name, "user": client.user}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": client.user, "user": user}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }
    return json.dumps(content, indent=2) + "\n"


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def _write_secret(file: Path, content: str) -> None:
    file.touch(mode=0o600)
    file.write_text(content)
