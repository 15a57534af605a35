"""An answer that breaks off within its headers is no answer, wherever it does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import urllib3

from sid_trainer.storage.whole_heads import SEND_SECONDS, WholeHeads

HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: "abc"\r\n\r\n'
BODY = b"body"


@contextmanager
def server(answer: bytes) -> Iterator[str]:
    """Answers one request with these bytes and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        thread.join()


def ask(answer: bytes) -> urllib3.BaseHTTPResponse:
    with server(answer) as url, WholeHeads(retries=False, timeout=10.0) as pool:
        return pool.request("GET", url)


def test_a_store_has_time_to_take_bytes_though_little_to_be_reached() -> None:
    with server(HEAD + BODY) as url, WholeHeads(retries=False, timeout=4.0) as pool:
        connection = pool.connection_from_url(url)._get_conn()
        connection.timeout = 4.0
        connection.request("GET", "/")
        assert connection.sock.gettimeout() == SEND_SECONDS
        assert connection.getresponse().data == BODY
        connection.close()


def test_a_whole_answer_is_taken() -> None:
    answer = ask(HEAD + BODY)
    assert (answer.status, answer.headers["etag"], answer.data) == (200, '"abc"', BODY)
    assert ask(b"HTTP/1.1 204 No Content\r\n\r\n").status == 204
    continued = b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + BODY
    assert ask(continued).data == BODY


@pytest.mark.parametrize("length", range(len(HEAD) + len(BODY)))
def test_one_that_breaks_off_is_not(length: int) -> None:
    with pytest.raises(urllib3.exceptions.ProtocolError):
        ask((HEAD + BODY)[:length])
