"""A stand-in for the Hugging Face Hub, in a pod: it refuses whatever is asked of it.

The real one cannot be reached from the test cluster. Statuses and headers are those that the Hub
answers with, as its client (huggingface_hub) reads them.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PORT = 8080
GATED, PRIVATE = "organisation/gated", "organisation/private"
REFUSALS: dict[str, tuple[int, dict[str, str]]] = {
    GATED: (403, {"X-Error-Code": "GatedRepo"}),
    PRIVATE: (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
}


class Refusing(BaseHTTPRequestHandler):
    """Answers by the repository that the path names."""

    def do_GET(self) -> None:
        """Refuse."""
        missing = (404, {"X-Error-Code": "RepoNotFound"})
        status, headers = next(
            (answer for name, answer in REFUSALS.items() if name in self.path), missing
        )
        self.send_response(status)
        for name, value in (headers | {"Content-Length": "0"}).items():
            self.send_header(name, value)
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for


def manifests(namespace: str, image: str) -> list[dict[str, Any]]:
    """The pod, which runs this file, and the Service ``mirror`` before it."""
    metadata = {"name": "mirror", "namespace": namespace, "labels": {"app": "mirror"}}
    container = {
        "name": "mirror",
        "image": image,
        "command": ["python", "-c", Path(__file__).read_text(encoding="utf-8"), "serve"],
        "readinessProbe": {"tcpSocket": {"port": PORT}},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    service = {"selector": {"app": "mirror"}, "ports": [{"port": 80, "targetPort": PORT}]}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    ]


if __name__ == "__main__" and sys.argv[1:] == ["serve"]:
    ThreadingHTTPServer(("", PORT), Refusing).serve_forever()  # in its pod's own network
