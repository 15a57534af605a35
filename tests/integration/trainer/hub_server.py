"""A server in this process that the Hub's real client asks in place of the Hub."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

import huggingface_hub.constants
import pytest

Answer: TypeAlias = Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]
"""Status, headers and body for a request."""


@contextmanager
def hub_server(answer: Answer) -> Iterator[str]:
    """Have all requests to the Hub answered, without a token; gives the server's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, data = answer(self)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(huggingface_hub.constants, "ENDPOINT", url)
            template = url + "/{repo_id}/resolve/{revision}/{filename}"
            patch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            patch.delenv("HF_TOKEN", raising=False)
            yield url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
