"""A bucket that is opened by the identity of a service account, at a real STS and a real store."""

from __future__ import annotations

import json
import logging
import os
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from minio.credentials import AssumeRoleProvider

from sid_trainer.cli import main
from sid_trainer.config.endpoint import Endpoint
from sid_trainer.contract import ExitCode, FailureReason, TrainerError
from sid_trainer.storage.parts import PART_BYTES
from sid_trainer.storage.retry import Patience
from sid_trainer.storage.s3 import S3Storage
from tests.cluster import kubectl
from tests.integration.trainer.issuer import (
    Issuer,
    issuer,
    new_key,
    new_trusting_server,
    role_arn,
)
from tests.integration.trainer.secure_server import REGION, authority, trusted
from tests.minio_server import BUCKET, MinioServer


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    """Who vouches for service accounts."""
    with issuer(tmp_path_factory.mktemp("issuer")) as running:
        yield running


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, account: Issuer) -> Iterator[MinioServer]:
    """A store that believes the issuer."""
    with new_trusting_server(tmp_path_factory.mktemp("store"), account).running() as server:
        yield server


@pytest.fixture
def token_file(tmp_path: Path, account: Issuer) -> Path:
    """A pod's token, where the kubelet keeps it."""
    file = tmp_path / "token"
    file.write_text(account.token())
    return file


def variables(token_file: Path) -> dict[str, str]:
    """What EKS puts into the pods of a service account that has a role."""
    return {
        "AWS_ROLE_ARN": role_arn(),
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file),
        "AWS_STS_REGIONAL_ENDPOINTS": "regional",
        "AWS_REGION": REGION,
    }


def opened(store: MinioServer, environ: dict[str, str], prefix: str = "x") -> S3Storage:
    return S3Storage(BUCKET, prefix, trusted(store), environ, Patience(seconds=1.0))


def test_what_a_role_stores_is_read_back(store: MinioServer, token_file: Path, prefix: str) -> None:
    storage = opened(store, variables(token_file), prefix)
    large = os.urandom(2**20) * (3 * PART_BYTES // 2**20 + 1)  # in parts, by several threads
    storage.put_stream("large", lambda: BytesIO(large), len(large))
    assert storage.put_if("claim", b"1", None, "text/plain")
    assert storage.get_bytes("large", len(large)) == large
    assert opened(store, store.environ, prefix).get_bytes("claim") == b"1"
    storage.delete(["large", "claim"])
    assert storage.list() == []


def test_a_long_run_gets_new_keys_with_a_new_token(
    store: MinioServer, token_file: Path, account: Issuer, prefix: str
) -> None:
    """MinIO's keys end with the token that they are given for; the kubelet replaces it before."""
    token_file.write_text(account.token(seconds=12))
    storage = opened(store, variables(token_file), prefix)
    storage.put_bytes("first", b"1")
    first = keys_in_use(storage)
    token_file.write_text(account.token())
    kubectl.wait_until("new keys", lambda: renewed(storage, first), seconds=30, every=0.1)
    storage.put_bytes("second", b"2")
    assert [found.key for found in storage.list()] == ["first", "second"]


def keys_in_use(storage: S3Storage) -> str:
    return str(storage._client._provider.retrieve().access_key)


def renewed(storage: S3Storage, first: str) -> bool:
    return storage.get_bytes("first") == b"1" and keys_in_use(storage) != first


def test_the_commands_of_people_take_a_role(
    store: MinioServer,
    token_file: Path,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables(token_file).items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    opened(store, store.environ, prefix).put_bytes("left", b"1")
    place = ["--endpoint", store.endpoint, "--ca-bundle", str(authority(store))]
    assert main(["remove", "--storage", f"s3://{BUCKET}/{prefix}", *place]) == ExitCode.DONE
    assert opened(store, store.environ, prefix).list() == []
    capsys.readouterr()
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:minio:iam:::role/none")
    assert main(["checkpoints", "ls", "--storage", f"s3://{BUCKET}/x", *place]) == ExitCode.DENIED
    assert "correct AWS_ROLE_ARN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("audience", "must match configured OpenID Client ID"),
        ("issuer", "verification error"),
        ("age", "Token is expired"),
        ("form", "invalid number of segments"),
    ],
)
def test_a_token_that_is_refused_is_told_and_not_shown(
    store: MinioServer,
    account: Issuer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    wrong: str,
    words: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    token = {
        "audience": lambda: account.token(audience="another"),
        "issuer": lambda: account.token(key=new_key(tmp_path)),
        "age": lambda: account.token(seconds=-60),
        "form": lambda: "not-a-token-of-anybody",
    }[wrong]()
    (tmp_path / "token").write_text(token)
    with pytest.raises(TrainerError, match=words) as raised:
        opened(store, variables(tmp_path / "token")).list()
    assert raised.value.reason is FailureReason.ACCESS_DENIED
    assert f"the role {role_arn()} at {store.endpoint}" in str(raised.value)
    assert "must be an identity provider there" in str(raised.value)
    shown = "".join(traceback.format_exception(raised.value)) + caplog.text
    assert token not in shown


def test_an_sts_that_does_not_answer_is_told(store: MinioServer, token_file: Path) -> None:
    environ = variables(token_file) | {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9"}
    with pytest.raises(TrainerError, match=r"the STS http://127\.0\.0\.1:9 did not") as raised:
        opened(store, environ).list()
    assert raised.value.reason is FailureReason.STORAGE_UNAVAILABLE
    assert "network policies" in str(raised.value)


def test_another_sts_needs_an_authority_as_well(store: MinioServer, token_file: Path) -> None:
    """The token is shown to nobody whom no trusted authority vouches for."""
    other = f"https://localhost:{store.port}"
    environ = variables(token_file) | {"AWS_ENDPOINT_URL_STS": other}
    with pytest.raises(TrainerError, match="for other names"):
        opened(store, environ).list()
    environ["AWS_ENDPOINT_URL_STS"] = store.endpoint
    unknown = S3Storage(BUCKET, "x", Endpoint("http://127.0.0.1:9"), environ, Patience(seconds=1.0))
    with pytest.raises(TrainerError, match="no authority trusted here vouches for it"):
        unknown.list()
    assert opened(store, environ, "nothing").list() == []


@pytest.fixture
def agent(store: MinioServer, token_file: Path) -> Iterator[str]:
    """A stand-in for the agent of EKS Pod Identity: it gives keys of the store to the token."""
    provider = AssumeRoleProvider(
        sts_endpoint=store.endpoint,
        access_key=store.environ["AWS_ACCESS_KEY_ID"],
        secret_key=store.environ["AWS_SECRET_ACCESS_KEY"],
        region=REGION,
        http_client=store.http(),
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Authorization"] == token_file.read_text()
            keys = provider.retrieve()
            body = {
                "AccessKeyId": keys.access_key,
                "SecretAccessKey": keys.secret_key,
                "Token": keys.session_token,
                "AccountId": "012345678901",
                "Expiration": f"{keys.expiration:%Y-%m-%dT%H:%M:%SZ}",
            }
            told = json.dumps(body).encode() if known else b"no such account"
            self.send_response(200 if known else 403)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/credentials"
        server.shutdown()
        thread.join()


def test_the_agent_of_a_node_opens_the_bucket(
    store: MinioServer, agent: str, token_file: Path, tmp_path: Path, prefix: str
) -> None:
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": agent,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token_file),
        "AWS_REGION": REGION,
    }
    storage = opened(store, environ, prefix)
    storage.put_bytes("x", b"1")
    assert storage.get_bytes("x") == b"1"
    other = tmp_path / "other"
    other.write_text("of-another-pod")
    environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = str(other)
    with pytest.raises(TrainerError, match=r"no such account.*Pod Identity association") as raised:
        opened(store, environ).list()
    assert raised.value.reason is FailureReason.ACCESS_DENIED
