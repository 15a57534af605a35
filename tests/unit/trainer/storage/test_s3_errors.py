"""What a store answers, told with its cause and its remedy; a redirect is an answer, too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.retry import Patience, TransientError
from sid_trainer.storage.s3 import S3Storage
from sid_trainer.storage.s3_errors import refusal
from sid_trainer.storage.s3_request import ACTIONS, Request

LIST = Request("list", "s3://runs/team", "https://minio.example:9000")
KEYS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "s3cr3t"}
DENIED = FailureReason.ACCESS_DENIED
FINAL: dict[str, tuple[FailureReason, str]] = {
    "InvalidAccessKeyId": (DENIED, "correct accessKey"),
    "InvalidClientTokenId": (DENIED, "correct accessKey"),
    "SignatureDoesNotMatch": (DENIED, "correct secretKey"),
    "ExpiredToken": (DENIED, "have expired: put new ones into the Secret"),
    "InvalidToken": (DENIED, "correct sessionToken"),
    "InvalidTokenId": (DENIED, "correct sessionToken"),
    "AccessDenied": (DENIED, "the keys may not do that: allow s3:ListBucket there"),
    "RequestTimeTooSkewed": (DENIED, "set both by NTP"),
    "NoSuchBucket": (FailureReason.NOT_FOUND, "bucket s3://runs at https://minio.example:9000"),
    "NoSuchKey": (FailureReason.NOT_FOUND, "check the bucket and the key"),
    "PermanentRedirect": (FailureReason.INVALID_CONFIGURATION, "its region and its own endpoint"),
    "QuotaExceeded": (FailureReason.STORAGE_UNAVAILABLE, "raise its quota"),
    "XMinioStorageFull": (FailureReason.STORAGE_UNAVAILABLE, "make room there"),
    "SomethingNew": (FailureReason.STORAGE_UNAVAILABLE, "SomethingNew: the store's words"),
}


@pytest.mark.parametrize("code", FINAL)
def test_what_waiting_does_not_cure_is_final(code: str) -> None:
    reason, words = FINAL[code]
    error = refusal(LIST, code, "the store's words", 507 if code == "XMinioStorageFull" else 400)
    assert isinstance(error, TrainerError)
    assert error.reason is reason
    assert words in str(error)
    assert "https://minio.example:9000" in str(error)
    assert "s3://runs" in str(error)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("SlowDown", 503),
        ("SlowDownWrite", 503),
        ("TooManyRequests", 429),
        ("RequestTimeout", 400),
        ("BadDigest", 400),
        ("XAmzContentSHA256Mismatch", 400),
        ("ConditionalRequestConflict", 409),
        ("SomethingNew", 500),
    ],
)
def test_what_may_pass_is_asked_again(code: str, status: int) -> None:
    assert isinstance(refusal(LIST, code, "", status), TransientError)


def test_the_region_is_named_where_the_store_names_it() -> None:
    error = refusal(LIST, "AuthorizationHeaderMalformed", "", 400, "eu-west-1")
    assert "set checkpoint.region to eu-west-1" in str(error)


def test_every_operation_names_its_permission() -> None:
    for verb, action in ACTIONS.items():
        told = str(refusal(Request(verb, "s3://runs/x", "http://x"), "AccessDenied", ""))
        assert f"allow {action} there" in told


def test_where_the_region_is_asked_for_that_right_is_named_too() -> None:
    asked = Request("list", "s3://runs", "https://s3.amazonaws.com", locates=True)
    assert "s3:GetBucketLocation" in str(refusal(asked, "AccessDenied", ""))
    assert "s3:GetBucketLocation" not in str(refusal(LIST, "AccessDenied", ""))


class Redirecting(BaseHTTPRequestHandler):
    """Sends everybody to a place of the same server, and notes who asks."""

    asked: list[str]

    def do_GET(self) -> None:
        """Answer as AWS does for a bucket of another region."""
        self.asked.append(self.path)
        body = b"<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"
        self.send_response(301)
        for name, value in (
            ("Content-Type", "application/xml"),
            ("Content-Length", str(len(body))),
            ("Location", "/elsewhere"),
            ("x-amz-bucket-region", "eu-west-1"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def redirecting() -> Iterator[ThreadingHTTPServer]:
    Redirecting.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_redirect_is_told_and_not_followed(redirecting: ThreadingHTTPServer) -> None:
    url = f"http://127.0.0.1:{redirecting.server_address[1]}"
    storage = S3Storage("runs", "team", url, KEYS, Patience(seconds=0.1))
    with pytest.raises(TrainerError, match=r"set checkpoint\.region to eu-west-1") as raised:
        storage.list()
    assert raised.value.reason is FailureReason.INVALID_CONFIGURATION
    assert len(Redirecting.asked) == 1
    assert "s3cr3t" not in str(raised.value)
