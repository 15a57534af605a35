"""Any S3 endpoint: TLS of an own authority, addressing, region, temporary keys, least rights."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sid_trainer.checkpoint.attempts import claim_attempt, require_newest
from sid_trainer.checkpoint.leftovers import unfinished
from sid_trainer.cli import main
from sid_trainer.config import StorageConfig
from sid_trainer.config.endpoint import Endpoint
from sid_trainer.contract import ExitCode, FailureReason, TrainerError
from sid_trainer.storage import open_storage
from sid_trainer.storage.parts import PART_BYTES
from sid_trainer.storage.retry import Patience
from sid_trainer.storage.s3 import S3Storage
from sid_trainer.storage.s3_client import connect
from tests.integration.trainer.faults.proxy import FaultProxy
from tests.integration.trainer.faults.schedule import Fault, Kind
from tests.integration.trainer.secure_server import (
    DOMAIN,
    REGION,
    authority,
    documented_policy,
    short_lived,
    temporary,
    trusted,
)
from tests.minio_server import BUCKET, MinioServer

FOLDER = "team/endpoints"
"""Below what the documented policy opens; a whole run has a folder beside it."""


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every name below the server's domain is the loopback address; no other is known."""
    known, asked = socket.getaddrinfo, []

    def resolve(host: Any, *arguments: Any, **more: Any) -> Any:
        asked.append(str(host))
        if str(host).endswith(DOMAIN):
            return known("127.0.0.1", *arguments, **more)
        if str(host)[0].isdigit():
            return known(host, *arguments, **more)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def opened(
    server: MinioServer, endpoint: Endpoint, environ: dict[str, str] | None = None
) -> S3Storage:
    return S3Storage(BUCKET, FOLDER, endpoint, environ or server.environ, Patience(seconds=1.0))


def refused(storage: S3Storage, reason: FailureReason) -> str:
    with pytest.raises(TrainerError) as raised:
        storage.list()
    assert raised.value.reason is reason
    assert storage.uri() in str(raised.value)
    return str(raised.value)


def test_an_unknown_authority_is_refused_and_the_remedy_named(secure: MinioServer) -> None:
    told = refused(opened(secure, Endpoint(secure.endpoint)), FailureReason.STORAGE_UNAVAILABLE)
    assert "no authority trusted here vouches for it" in told
    assert "checkpoint.caBundleRef" in told


@pytest.mark.parametrize("way", ["endpoint", "AWS_CA_BUNDLE"])
def test_its_own_authority_opens_it(secure: MinioServer, way: str) -> None:
    environ = dict(secure.environ)
    endpoint = trusted(secure)
    if way == "AWS_CA_BUNDLE":
        environ[way], endpoint = str(endpoint.ca_bundle), Endpoint(secure.endpoint)
    storage = opened(secure, endpoint, environ)
    large = os.urandom(2**20) * (PART_BYTES // 2**20 + 1)
    storage.put_stream("large", lambda: BytesIO(large), len(large))
    assert storage.get_bytes("large") == large


def test_the_settings_of_a_file_open_it(
    secure: MinioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, secure.environ[name])
    settings = {
        "uri": f"s3://{BUCKET}/by-file",
        "endpoint": secure.endpoint,
        "region": REGION,
        "addressing": "path",
        "caBundle": str(authority(secure)),
    }
    config = StorageConfig.model_validate(settings)
    assert claim_attempt(open_storage(config.uri, config.server)).attempt == 1
    with pytest.raises(ValidationError, match="has no TLS: use https://"):
        StorageConfig.model_validate(settings | {"endpoint": "http://minio:9000"})


def test_the_arguments_of_a_command_open_it(
    secure: MinioServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, secure.environ[name])
    given = ["--storage", f"s3://{BUCKET}/nothing", "--endpoint", secure.endpoint]
    more = ["--region", REGION, "--addressing", "path", "--ca-bundle", str(authority(secure))]
    assert main(["checkpoints", "ls", *given, *more]) == ExitCode.DONE
    assert "there are no checkpoints" in capsys.readouterr().out
    assert main(["checkpoints", "ls", *given]) == ExitCode.STORAGE
    assert "caBundleRef" in capsys.readouterr().err


def test_a_bundle_that_is_none_is_told(secure: MinioServer, tmp_path: Path) -> None:
    wrong = tmp_path / "ca.crt"
    for content, problem in ((None, "cannot be read"), ("no PEM", "is no file of PEM")):
        if content is not None:
            wrong.write_text(content)
        with pytest.raises(TrainerError, match=problem) as raised:
            opened(secure, Endpoint(secure.endpoint, ca_bundle=wrong))
        assert raised.value.reason is FailureReason.INVALID_CONFIGURATION


@pytest.mark.usefixtures("resolved")
def test_a_certificate_for_other_names_is_told(
    secure: MinioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = f"https://not{DOMAIN}:{secure.port}"
    told = refused(opened(secure, trusted(secure, other)), FailureReason.STORAGE_UNAVAILABLE)
    assert "for other names" in told


def test_plain_http_to_a_tls_port_is_told(secure: MinioServer) -> None:
    plain = Endpoint(secure.endpoint.replace("https", "http"))
    assert "use https://" in refused(opened(secure, plain), FailureReason.STORAGE_UNAVAILABLE)


def test_the_bucket_stands_before_the_name_or_in_the_path(
    secure: MinioServer, resolved: list[str]
) -> None:
    url = f"https://{DOMAIN}:{secure.port}"
    for addressing, host in (("auto", DOMAIN), ("path", DOMAIN), ("virtual", f"runs.{DOMAIN}")):
        resolved.clear()
        storage = opened(secure, trusted(secure, url, addressing=addressing))
        storage.put_bytes(f"by-{addressing}", b"1")
        assert storage.exists(f"by-{addressing}")
        assert [found.key for found in storage.list("by-")][:1] == ["by-auto"]
        storage.begun_uploads()
        assert set(resolved) == {host}


def test_another_region_is_told(secure: MinioServer) -> None:
    endpoint = trusted(secure, region="us-east-1")
    told = refused(opened(secure, endpoint), FailureReason.INVALID_CONFIGURATION)
    assert f"set checkpoint.region to {REGION}" in told


def test_regions_of_aws_are_those_of_its_names() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    cases: list[tuple[Endpoint, str | None]] = [
        (Endpoint(), None),  # the bucket's own is asked for
        (Endpoint(region="eu-west-1"), "eu-west-1"),
        (Endpoint("https://s3.eu-central-1.amazonaws.com"), "eu-central-1"),
        (Endpoint("http://minio.minio:9000"), "us-east-1"),
    ]
    for endpoint, region in cases:
        assert (connect(endpoint, keys)._base_url.region or None) == region
    told = keys | {"AWS_REGION": "eu-north-1"}
    assert connect(Endpoint(), told)._base_url.region == "eu-north-1"


def life_of_a_run(storage: S3Storage) -> None:
    """Every kind of request that a run makes."""
    claim = claim_attempt(storage)
    large = b"x" * (PART_BYTES + 1)
    storage.put_stream("checkpoints/large", lambda: BytesIO(large), len(large))
    with pytest.raises(OSError, match="stream ended"):  # an upload that is given up
        storage.put_stream("checkpoints/torn", lambda: BytesIO(large[1:]), len(large))
    storage.put_bytes("small", b"1")
    assert storage.get_bytes("small") == b"1"
    assert not storage.exists("absent")
    require_newest(storage, claim)
    storage.give_up(unfinished(storage))
    storage.delete([found.key for found in storage.list()])


def test_temporary_keys_with_the_documented_rights_are_enough(secure: MinioServer) -> None:
    life_of_a_run(opened(secure, trusted(secure), temporary(secure, documented_policy())))


USES: dict[str, Callable[[S3Storage], object]] = {
    "s3:ListBucket": lambda storage: storage.list(),
    "s3:GetObject": lambda storage: storage.get_bytes("there"),
    "s3:PutObject": lambda storage: storage.put_bytes("x", b""),
    "s3:DeleteObject": lambda storage: storage.delete(["there"]),
    "s3:ListBucketMultipartUploads": lambda storage: storage.begun_uploads(),
    "s3:AbortMultipartUpload": lambda storage: storage.give_up(storage.begun_uploads()),
}


@pytest.mark.parametrize("action", USES)
def test_each_right_is_needed_and_named_where_it_is_missing(
    secure: MinioServer, action: str
) -> None:
    full = opened(secure, trusted(secure))
    full.put_bytes("there", b"1")
    connect(trusted(secure), secure.environ).begin_upload(BUCKET, f"{FOLDER}/begun", {})
    policy = documented_policy()
    assert any(action in statement["Action"] for statement in policy["Statement"])
    for statement in policy["Statement"]:
        statement["Action"] = [one for one in statement["Action"] if one != action]
    storage = opened(secure, trusted(secure), temporary(secure, policy))
    with pytest.raises(TrainerError, match=f"allow {action}") as raised:
        USES[action](storage)
    assert raised.value.reason is FailureReason.ACCESS_DENIED


def test_keys_that_are_wrong_in_different_ways_are_told_apart(secure: MinioServer) -> None:
    keys = temporary(secure, documented_policy())
    wrong = {
        "does not know this access key": keys | {"AWS_ACCESS_KEY_ID": "somebody"},
        "does not belong to the access key": keys | {"AWS_SECRET_ACCESS_KEY": "a-wrong-secret"},
        "session token does not belong to the keys": keys | {"AWS_SESSION_TOKEN": "a.b.c"},
    }
    for remedy, environ in wrong.items():
        told = refused(opened(secure, trusted(secure), environ), FailureReason.ACCESS_DENIED)
        assert remedy in told
        for secret in (environ["AWS_SECRET_ACCESS_KEY"], environ["AWS_SESSION_TOKEN"]):
            assert secret not in told


def test_keys_that_have_expired_are_told(secure: MinioServer, tmp_path: Path) -> None:
    """MinIO says of them what it says of keys that it has never known."""
    keys = short_lived(secure, tmp_path, seconds=15)
    storage = opened(secure, trusted(secure), keys)
    storage.put_bytes("in-time", b"1")
    for use in (storage.get_bytes, storage.exists):
        with pytest.raises(TrainerError, match=r"InvalidAccessKeyId.* have expired") as raised:
            for_a_while(lambda: use("in-time"))  # noqa: B023 - it is used now
        assert raised.value.reason is FailureReason.ACCESS_DENIED
        assert keys["AWS_SESSION_TOKEN"] not in str(raised.value)


def for_a_while(work: Callable[[], object]) -> None:
    """Longer than any of these keys lives."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        work()
        time.sleep(0.05)


def test_a_wrong_clock_is_told(minio: MinioServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minio.time.utcnow", lambda: datetime.now(UTC) - timedelta(hours=1))
    told = refused(minio.storage("x"), FailureReason.ACCESS_DENIED)
    assert "RequestTimeTooSkewed" in told
    assert "NTP" in told


@pytest.mark.usefixtures("resolved")
def test_a_name_that_nobody_knows_is_told(minio: MinioServer) -> None:
    told = refused(
        opened(minio, Endpoint("http://no-such-host.invalid:9000")),
        FailureReason.STORAGE_UNAVAILABLE,
    )
    assert "the name cannot be resolved" in told
    assert "check the spelling of no-such-host.invalid" in told


def test_a_port_where_nothing_listens_is_told(minio: MinioServer) -> None:
    told = refused(opened(minio, Endpoint("http://127.0.0.1:9")), FailureReason.STORAGE_UNAVAILABLE)
    assert "refused" in told
    assert "nothing listens there" in told


class Always:
    """Every request meets the same fault."""

    def __init__(self, kind: Kind) -> None:
        self._fault = Fault(kind, share=0.5, seconds=0.0, target=0)

    def at(self, number: int) -> Fault | None:
        return self._fault if number else None


@pytest.mark.parametrize(
    ("kind", "told"),
    [(Kind.ERROR_503, "the store is overloaded"), (Kind.PAGE_503, "No server is here")],
)
def test_a_store_that_cannot_is_asked_again_and_then_told(
    minio: MinioServer, kind: Kind, told: str
) -> None:
    with FaultProxy(minio.port, Always(kind)) as proxy:
        storage = opened(minio, Endpoint(f"http://127.0.0.1:{proxy.port}"))
        assert told in refused(storage, FailureReason.STORAGE_UNAVAILABLE)
        assert proxy.requests > 1
