"""A small issuer of tokens, as a cluster is one for its pods, and a MinIO that trusts it.

It serves what OpenID Connect asks of an issuer: where its keys are, and the keys. Its private key
is made by the openssl program, which signs as well (RS256).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.cluster.local.shell import run
from tests.integration.trainer.secure_server import REGION, new_secure_server
from tests.minio_server import MinioServer

AUDIENCE = "sts.amazonaws.com"
SUBJECT = "system:serviceaccount:team:trainer"
ROLE = "readwrite"
"""A policy that every MinIO has."""


@dataclass(frozen=True)
class Issuer:
    """One that runs: ``url`` names it, ``key`` is the file of its private key."""

    url: str
    key: Path

    @property
    def discovery(self) -> str:
        return f"{self.url}/.well-known/openid-configuration"

    def token(self, seconds: int = 3600, audience: str = AUDIENCE, key: Path | None = None) -> str:
        """A token of a service account, which lasts so long."""
        now = int(time.time())
        claims = {"iss": self.url, "sub": SUBJECT, "aud": [audience], "iat": now}
        claims |= {"exp": now + seconds, "jti": secrets.token_hex(8)}
        signed = f"{_part({'alg': 'RS256', 'kid': 'only'})}.{_part(claims)}"
        command = ["openssl", "dgst", "-sha256", "-sign", str(key or self.key)]
        signature = subprocess.run(command, input=signed.encode(), capture_output=True, check=True)
        return f"{signed}.{_text(signature.stdout)}"


@contextmanager
def issuer(folder: Path) -> Iterator[Issuer]:
    """An issuer on the loopback address."""
    key = new_key(folder)
    answers: dict[str, object] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        answers["/.well-known/openid-configuration"] = _about(url)
        answers["/keys"] = {"keys": [_public(key)]}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Issuer(url, key)
        finally:
            server.shutdown()
            thread.join()


def new_key(folder: Path) -> Path:
    """A private key."""
    key = folder / f"{secrets.token_hex(4)}.key"
    run(["openssl", "genrsa", "-out", key, "2048"])
    return key


def new_trusting_server(folder: Path, trusted: Issuer) -> MinioServer:
    """A MinIO with TLS, not started yet, whose STS gives a role to the issuer's accounts."""
    server = new_secure_server(folder)
    server.settings |= {
        "MINIO_IDENTITY_OPENID_CONFIG_URL": trusted.discovery,
        "MINIO_IDENTITY_OPENID_CLIENT_ID": AUDIENCE,
        "MINIO_IDENTITY_OPENID_ROLE_POLICY": ROLE,
    }
    return server


def role_arn(region: str = REGION) -> str:
    """Name of that role, which MinIO makes of the audience and its own region."""
    made = hashlib.sha1(AUDIENCE.encode(), usedforsecurity=False).digest()
    return f"arn:minio:iam:{region}::role/{_text(made)}"


def _about(url: str) -> dict[str, object]:
    return {
        "issuer": url,
        "jwks_uri": f"{url}/keys",
        "authorization_endpoint": f"{url}/none",
        "token_endpoint": f"{url}/none",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


def _public(key: Path) -> dict[str, str]:
    told = run(["openssl", "rsa", "-in", key, "-noout", "-modulus"])
    modulus = bytes.fromhex(told.strip().removeprefix("Modulus="))
    exponent = (65537).to_bytes(3, "big")
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": "only",
        "n": _text(modulus),
        "e": _text(exponent),
    }


def _part(content: object) -> str:
    return _text(json.dumps(content).encode())


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
