"""A MinIO with TLS under a throw-away authority, and the temporary keys that it gives."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import urllib3
from minio.credentials import AssumeRoleProvider, CertificateIdentityProvider, Provider

from sid_trainer.config.endpoint import Endpoint
from tests.cluster.local import pki
from tests.cluster.local.shell import run
from tests.minio_server import MinioServer, new_server

DOMAIN = "minio.localhost"
REGION = "eu-west-9"
STORAGE_PAGE = Path(__file__).parents[3] / "docs" / "storage.md"
SERVER = pki.Identity(
    file="minio", user="minio", names=("IP:127.0.0.1", f"DNS:{DOMAIN}", f"DNS:*.{DOMAIN}")
)
SIGNING = """
[authority]
database = {folder}/issued.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = names
x509_extensions = uses
[names]
commonName = supplied
[uses]
extendedKeyUsage = clientAuth
"""


def new_secure_server(folder: Path) -> MinioServer:
    """A server that is not started yet, with a domain and a region; ``folder`` is empty."""
    keys, certificates, data = (folder / name for name in ("pki", "certificates", "minio"))
    pki.create(keys, servers=[SERVER], clients=[])
    (certificates / "CAs").mkdir(parents=True)
    data.mkdir()
    for made, name in (
        ("minio.crt", "public.crt"),
        ("minio.key", "private.key"),
        ("ca.crt", "ca.crt"),
        ("ca.crt", "CAs/ca.crt"),
    ):
        shutil.copy(keys / made, certificates / name)
    server = new_server(data)
    server.certificates = certificates
    server.settings = {
        "MINIO_DOMAIN": DOMAIN,
        "MINIO_REGION": REGION,
        "MINIO_IDENTITY_TLS_ENABLE": "on",
    }
    server.environ["AWS_REGION"] = REGION
    return server


def authority(server: MinioServer) -> Path:
    """The file that vouches for the server."""
    assert server.certificates is not None
    return server.certificates / "ca.crt"


def trusted(server: MinioServer, url: str = "", **settings: Any) -> Endpoint:
    """The server, for a program that knows its authority."""
    return Endpoint(url or server.endpoint, ca_bundle=authority(server), **settings)


def documented_policy() -> dict[str, Any]:
    """The rights that a run needs, as its page says: below ``team/`` of the bucket ``runs``."""
    found = re.search(r"```json\n(.*?)```", STORAGE_PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    policy: dict[str, Any] = json.loads(found[1])
    return policy


def temporary(server: MinioServer, policy: dict[str, Any]) -> dict[str, str]:
    """Temporary keys that may do what the policy says."""
    provider = AssumeRoleProvider(
        sts_endpoint=server.endpoint,
        access_key=server.environ["AWS_ACCESS_KEY_ID"],
        secret_key=server.environ["AWS_SECRET_ACCESS_KEY"],
        policy=json.dumps(policy),
        region=REGION,
        http_client=server.http(),
    )
    return _environ(provider)


def short_lived(server: MinioServer, folder: Path, seconds: float) -> dict[str, str]:
    """Keys that may do all, and expire with the certificate that they are given for.

    No other keys expire in less than a quarter of an hour.
    """
    key, certificate = _client_certificate(server, folder, seconds)
    http = urllib3.PoolManager(
        cert_file=str(certificate), key_file=str(key), ca_certs=str(authority(server))
    )
    provider = CertificateIdentityProvider(sts_endpoint=server.endpoint, http_client=http)
    return _environ(provider)


def _client_certificate(server: MinioServer, folder: Path, seconds: float) -> tuple[Path, Path]:
    """Key and certificate of a user whose name is that of a policy that every server has."""
    keys = authority(server).parents[1] / "pki"
    key, request, certificate, settings, issued = (
        folder / name
        for name in ("client.key", "client.csr", "client.crt", "signing.conf", "issued.txt")
    )
    settings.write_text(SIGNING.format(folder=folder))
    issued.touch()
    run(
        [
            *("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key),
            *("-subj", "/CN=readwrite", "-out", request),
        ]
    )
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    run(
        [
            *("openssl", "ca", "-batch", "-notext", "-config", settings, "-name", "authority"),
            *("-cert", keys / "ca.crt", "-keyfile", keys / "ca.key", "-in", request),
            *("-enddate", f"{until:%Y%m%d%H%M%SZ}", "-out", certificate),
        ]
    )
    return key, certificate


def _environ(provider: Provider) -> dict[str, str]:
    keys = provider.retrieve()
    return {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_SESSION_TOKEN": keys.session_token or "",
        "AWS_REGION": REGION,
    }
