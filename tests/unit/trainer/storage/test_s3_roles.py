"""Keys of a role: where they are asked for, when they are renewed, what is told without them."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3
from minio.credentials import Credentials, StaticProvider

from sid_trainer.config.endpoint import Endpoint
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.retry import Patience, TransientError
from sid_trainer.storage.s3 import S3Storage
from sid_trainer.storage.s3_client import connect
from sid_trainer.storage.s3_errors import refusal as refusal_of_store
from sid_trainer.storage.s3_keys import keys_of, role_of, sts_url
from sid_trainer.storage.s3_request import Request
from sid_trainer.storage.s3_role import PodRole, RoleKeys, WebRole
from sid_trainer.storage.s3_role_errors import AGENT, STS, Asked, RefusedError, refusal

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINIO = Endpoint("https://minio.example:9000", ca_bundle=Path("/etc/sid-ca/ca.crt"))
WEB = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/runs"}
POD = {
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/pod-token",
}
STATIC = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
TOKEN = "a.web.token"


@pytest.mark.parametrize(
    ("endpoint", "environ", "url"),
    [
        (Endpoint(), {}, "https://sts.amazonaws.com"),
        (Endpoint(), {"AWS_REGION": "eu-west-1"}, "https://sts.eu-west-1.amazonaws.com"),
        (Endpoint(), {"AWS_DEFAULT_REGION": "eu-west-1"}, "https://sts.eu-west-1.amazonaws.com"),
        (Endpoint(region="eu-west-2"), {}, "https://sts.eu-west-2.amazonaws.com"),
        (
            Endpoint("https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            {},
            "https://sts.cn-north-1.amazonaws.com.cn",
        ),
        (MINIO, {"AWS_REGION": "eu-west-1"}, "https://minio.example:9000"),
        (MINIO, {"AWS_ENDPOINT_URL_STS": "https://sts.example/"}, "https://sts.example"),
        (Endpoint(), {"AWS_ENDPOINT_URL_STS": "https://sts.example"}, "https://sts.example"),
    ],
)
def test_where_keys_are_asked_for(endpoint: Endpoint, environ: dict[str, str], url: str) -> None:
    assert sts_url(endpoint, environ) == url


def test_keys_that_are_given_come_before_a_role() -> None:
    assert isinstance(keys_of(Endpoint(), {**STATIC, **WEB, **POD}), StaticProvider)
    assert isinstance(keys_of(Endpoint(), {**WEB, **POD}), RoleKeys)
    assert isinstance(role_of(Endpoint(), {**WEB, **POD}), WebRole)
    assert isinstance(role_of(Endpoint(), POD), PodRole)
    assert role_of(Endpoint(), STATIC) is None


@pytest.mark.parametrize(
    "environ", [{}, {"AWS_ACCESS_KEY_ID": "a"}, {"AWS_ACCESS_KEY_ID": "a", **WEB}]
)
def test_without_keys_both_ways_to_give_some_are_named(environ: dict[str, str]) -> None:
    with pytest.raises(TrainerError, match=r"AWS_[A-Z_]+ is not set") as raised:
        keys_of(Endpoint(), environ)
    assert raised.value.reason is FailureReason.ACCESS_DENIED
    for way in ("checkpoint.secretRef", "checkpoint.serviceAccountName", "in your shell"):
        assert way in str(raised.value)


def test_the_storages_of_a_process_share_the_keys_of_a_role() -> None:
    one, same, other = (
        connect(Endpoint(region=region), WEB) for region in ("eu-west-1", "eu-west-1", "eu-west-2")
    )
    assert one.has_role
    assert one._provider is same._provider
    assert one._provider is not other._provider
    assert not connect(Endpoint(), STATIC).has_role


def test_a_stores_own_sts_is_trusted_as_the_store_and_another_by_the_public_as_well() -> None:
    own = role_of(MINIO, WEB)
    other = role_of(MINIO, {**WEB, "AWS_ENDPOINT_URL_STS": "https://sts.example"})
    assert own is not None
    assert other is not None
    assert (own.bundle, own.public_too) == (MINIO.ca_bundle, False)
    assert (other.bundle, other.public_too) == (MINIO.ca_bundle, True)


@pytest.mark.parametrize(
    ("environ", "session"),
    [
        ({"HOSTNAME": "flux-0"}, "sid-flux-0"),
        ({}, "sid-trainer"),
        ({"AWS_ROLE_SESSION_NAME": "a b/c"}, "a-b-c"),
        ({"HOSTNAME": "n" * 80}, "sid-" + "n" * 60),
    ],
)
def test_the_accounts_log_tells_the_pod(environ: dict[str, str], session: str) -> None:
    role = role_of(Endpoint(), {**WEB, **environ})
    assert isinstance(role, WebRole)
    assert role.session == session


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("AccessDenied", 403, "allow sts:AssumeRoleWithWebIdentity to the cluster's issuer"),
        ("ExpiredTokenException", 400, "the kubelet renews it"),
        ("InvalidIdentityToken", 400, "must be an identity provider there"),
        ("IDPRejectedClaim", 403, "must be an identity provider there"),
        ("InvalidParameterValue", 400, "correct AWS_ROLE_ARN"),
        ("ValidationError", 400, "correct AWS_ROLE_ARN"),
        ("RegionDisabledException", 403, "activate the STS of this region"),
        ("SomethingNew", 400, "SomethingNew: the server's words"),
    ],
)
def test_a_refusal_of_the_role_is_final(code: str, status: int, words: str) -> None:
    error = refusal(Asked("the role r", STS, "https://sts"), RefusedError(status, answer(code)))
    assert isinstance(error, TrainerError)
    assert error.reason is FailureReason.ACCESS_DENIED
    for part in (words, "the role r", "https://sts", "the server's words"):
        assert part in str(error)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "IDPCommunicationError"), (400, "Throttling"), (429, ""), (500, ""), (503, "NewOne")],
)
def test_a_server_that_may_answer_later_is_asked_again(status: int, code: str) -> None:
    for who in (STS, AGENT):
        error = refusal(Asked("r", who, "http://it"), RefusedError(status, answer(code)))
        assert isinstance(error, TransientError)
        assert error.server == f"{who} http://it"


def test_an_answer_of_no_sts_is_told_as_that() -> None:
    asked = Asked("the role r", STS, "https://sts")
    told = refusal(asked, RefusedError(404, b"<html>\x1b[1mnot here</html>"))
    assert isinstance(told, TrainerError)
    assert told.reason is FailureReason.STORAGE_UNAVAILABLE
    assert "HTTP 404: <html> [1mnot here</html>" in str(told)
    assert "AWS_ENDPOINT_URL_STS" in str(told)


def test_the_store_says_other_things_of_a_roles_keys_than_of_a_secrets() -> None:
    asked = Request("write", "s3://runs/x", "http://minio", has_role=True)
    for code, words in (
        ("AccessDenied", "the role may not do that: allow s3:PutObject there"),
        ("ExpiredToken", "by NTP"),
        ("InvalidAccessKeyId", "AWS_ENDPOINT_URL_STS"),
    ):
        told = str(refusal_of_store(asked, code, ""))
        assert words in told
        assert "Secret" not in told


def answer(code: str) -> bytes:
    """What an STS says that gives no keys."""
    xmlns = "https://sts.amazonaws.com/doc/2011-06-15/"
    inner = f"<Code>{code}</Code>" if code else ""
    return (
        f'<ErrorResponse xmlns="{xmlns}"><Error><Type>Sender</Type>{inner}'
        "<Message>the server's words</Message></Error></ErrorResponse>"
    ).encode()


class Agent(BaseHTTPRequestHandler):
    """Gives keys as the agent of EKS Pod Identity does, or what is set here."""

    life = timedelta(hours=1)
    status, body = 200, b""
    asked: list[str]

    def do_GET(self) -> None:
        """Give keys that last as long as is set."""
        self.asked.append(self.headers.get("Authorization", ""))
        end = NOW + self.life
        keys = {
            "AccessKeyId": f"key-{len(self.asked)}",
            "SecretAccessKey": "s3cr3t",
            "Token": "t0k3n",
            "Expiration": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        }
        body = self.body or json.dumps(keys).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """The time."""
        return self.now


@pytest.fixture
def agent() -> Iterator[tuple[str, type[Agent]]]:
    """An agent's address, and what it answers."""

    class Own(Agent):
        asked: list[str] = []  # noqa: RUF012 - of this server alone

    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/credentials", Own
        server.shutdown()
        thread.join()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with a token."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


def test_keys_are_renewed_minutes_before_they_end(
    agent: tuple[str, type[Agent]], token_file: Path
) -> None:
    url, answers = agent
    clock = Clock()
    keys = RoleKeys(PodRole(url=url, token_file=token_file), clock)
    assert keys.retrieve().access_key == "key-1"
    clock.now += timedelta(minutes=54)
    assert keys.retrieve().access_key == "key-1"
    token_file.write_text("a.newer.token")
    clock.now += timedelta(minutes=1)
    answers.life = timedelta(hours=2)
    assert keys.retrieve().access_key == "key-2"
    assert keys.retrieve().access_key == "key-2"
    assert answers.asked == [TOKEN, "a.newer.token"]


def test_present_keys_are_used_while_they_last_where_no_others_are_had(
    agent: tuple[str, type[Agent]], token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url, answers = agent
    clock = Clock()
    keys = RoleKeys(PodRole(url=url, token_file=token_file), clock)
    keys.retrieve()
    answers.status, answers.body = 503, b"busy"
    clock.now += timedelta(minutes=56)
    for _ in range(5):
        assert keys.retrieve().access_key == "key-1"
    assert len(answers.asked) == 2, "asked at each request"
    assert "the present keys last until 2026-01-01 12:59:50" in caplog.text
    clock.now = NOW + timedelta(minutes=59, seconds=50)
    with pytest.raises(TransientError, match="HTTP 503: busy"):
        keys.retrieve()
    answers.status, answers.body, answers.life = 200, b"", timedelta(hours=2)
    assert keys.retrieve().access_key == "key-4"


def test_keys_that_ended_while_others_were_asked_for_are_not_used(
    agent: tuple[str, type[Agent]], token_file: Path
) -> None:
    url, answers = agent
    clock = Clock()

    class Slow(PodRole):
        def request(self, http: urllib3.PoolManager) -> Credentials:
            """Ask for a whole minute."""
            clock.now += timedelta(minutes=1)
            return super().request(http)

    keys = RoleKeys(Slow(url=url, token_file=token_file), clock)
    keys.retrieve()
    answers.status, answers.body = 503, b"busy"
    clock.now = NOW + timedelta(minutes=59)
    with pytest.raises(TransientError, match="HTTP 503: busy"):
        keys.retrieve()


def test_keys_that_last_a_moment_are_not_asked_for_at_each_request(
    agent: tuple[str, type[Agent]], token_file: Path
) -> None:
    """As an agent gives them that keeps some itself."""
    url, answers = agent
    clock = Clock()
    answers.life = timedelta(minutes=2)
    keys = RoleKeys(PodRole(url=url, token_file=token_file), clock)
    for seconds in range(30):
        clock.now = NOW + timedelta(seconds=seconds)
        keys.retrieve()
    assert len(answers.asked) == 1
    clock.now = NOW + timedelta(seconds=30)
    keys.retrieve()
    assert len(answers.asked) == 2


def test_one_thread_asks_for_all(agent: tuple[str, type[Agent]], token_file: Path) -> None:
    url, answers = agent
    keys = RoleKeys(PodRole(url=url, token_file=token_file), Clock())
    together = threading.Barrier(8)

    def use(_: int) -> str:
        together.wait()
        return str(keys.retrieve().access_key)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(use, range(8))) == {"key-1"}
    assert len(answers.asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "reason", "words"),
    [
        (404, b"no association", "AccessDenied", "must have a Pod Identity association"),
        (200, b"{", "StorageUnavailable", "an answer without keys"),
        (200, b"[]", "StorageUnavailable", "no answer of the agent"),
        (200, b'{"AccessKeyId": "s3cr3t"}', "StorageUnavailable", "an answer without keys"),
        (302, b"", "AccessDenied", "HTTP 302"),
        (500, b"t", "StorageUnavailable", "agent of the node http://127.0.0.1"),
    ],
)
def test_an_agent_that_gives_no_keys_is_told(
    agent: tuple[str, type[Agent]],
    token_file: Path,
    status: int,
    body: bytes,
    reason: str,
    words: str,
) -> None:
    url, answers = agent
    answers.status, answers.body = status, body
    told = failed(url, token_file)
    assert told.reason == reason
    assert words in str(told)
    assert "s3cr3t" not in str(told)


def failed(url: str, token_file: Path) -> TrainerError:
    """What a user is told of a storage whose keys are asked for there."""
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token_file),
    }
    storage = S3Storage("runs", "x", "http://127.0.0.1:9", environ, Patience(seconds=0.1))
    with pytest.raises(TrainerError) as raised:
        storage.list()
    return raised.value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"", "holds none"),
        (b"two\nlines", "holds none"),
        (b"\xff", "it is no text"),
    ],
)
def test_a_token_that_is_not_there_is_told(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    told = failed("http://127.0.0.1:9", file)
    assert told.reason is FailureReason.ACCESS_DENIED
    assert f"the service account's token {file}" in str(told)
    assert words in str(told)


def test_no_token_stands_in_a_url_or_a_log(
    agent: tuple[str, type[Agent]], token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the web identity, which the SDK writes into the URL; the agent answers no POST."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")  # which a command makes quieter
    url, _ = agent
    environ = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file), "AWS_ENDPOINT_URL_STS": url}
    storage = S3Storage("runs", "x", "http://127.0.0.1:9", environ, Patience(seconds=0.1))
    with pytest.raises(TrainerError, match=r"the STS http://127\.0\.0\.1") as raised:
        storage.list()
    assert '"POST /v1/credentials HTTP/1.1" 501' in caplog.text
    shown = "".join(traceback.format_exception(raised.value)) + caplog.text
    assert TOKEN not in shown
