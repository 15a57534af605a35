"""kubectl and helm for the demo and the cluster tests: run, read JSON, forward a port.

Rules this module keeps: the cluster is the one of ``$KUBECONFIG``, or else the local one of
``.dev/kubeconfig``; a command that fails raises with what it printed; output that may hold a
secret is never echoed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

REPOSITORY = Path(__file__).resolve().parents[2]
T = TypeVar("T")


class CommandError(RuntimeError):
    """A command that ended with an error: its words are in the message."""


def environment() -> dict[str, str]:
    """Environment in which ``kubectl`` and ``helm`` reach the cluster."""
    kubeconfig = os.environ.get("KUBECONFIG") or str(REPOSITORY / ".dev" / "kubeconfig")
    if not Path(kubeconfig.split(os.pathsep)[0]).exists():
        raise CommandError(
            f"no kubeconfig at {kubeconfig}: run `make cluster-up`, or set KUBECONFIG"
        )
    return {**os.environ, "KUBECONFIG": kubeconfig}


def binary(name: str) -> str:
    """Path of ``name``: the local cluster's own copy where there is one, else from the PATH."""
    own = REPOSITORY / ".dev" / "bin" / name
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        raise CommandError(f"{name} is not installed: run `make cluster-up`, or put it on the PATH")
    return found


def run(command: str, *arguments: str, stdin: str | None = None) -> str:
    """Run ``command`` and return what it printed; raise :class:`CommandError` when it fails."""
    done = subprocess.run(
        [binary(command), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    if done.returncode:
        raise CommandError(f"{command} {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Run kubectl; see :func:`run`."""
    return run("kubectl", *arguments, stdin=stdin)


def get(*arguments: str) -> dict[str, Any]:
    """``kubectl get ARGUMENTS`` as JSON."""
    parsed: dict[str, Any] = json.loads(kubectl("get", *arguments, "-o", "json"))
    return parsed


def apply(*documents: dict[str, Any]) -> None:
    """Apply manifests server-side."""
    bundle = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(bundle))


def condition(resource: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """The condition of type ``kind`` in a resource's status, if there is one."""
    status = resource.get("status") or {}
    conditions: Sequence[dict[str, Any]] = status.get("conditions") or []
    return next((entry for entry in conditions if entry["type"] == kind), None)


def is_true(resource: dict[str, Any], kind: str) -> bool:
    """Whether the condition of type ``kind`` is True."""
    found = condition(resource, kind)
    return found is not None and found["status"] == "True"


def wait_until(what: str, look: Callable[[], T | None], *, seconds: float, every: float = 0.5) -> T:
    """Look until ``look`` gives something true, and return it; raise after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)
    return seen


def wait_for_account(namespace: str) -> None:
    """Wait until a new namespace has the service account without which no pod is created."""
    wait_until(
        f"namespace {namespace} has its account",
        lambda: kubectl("get", "sa", "default", "-n", namespace, "--ignore-not-found"),
        seconds=180,
        every=0.1,
    )


def wait_established(name: str) -> None:
    """Wait until the API server serves a custom resource.

    ``kubectl wait`` fails on one that has no conditions yet.
    """
    wait_until(f"{name} is served", lambda: is_true(get("crd", name), "Established"), seconds=60)


@contextlib.contextmanager
def port_forward(namespace: str, target: str, port: int) -> Iterator[str]:
    """Forward a free loopback port to ``target``; gives ``127.0.0.1:PORT``."""
    process = subprocess.Popen(
        [binary("kubectl"), "-n", namespace, "port-forward", target, f":{port}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        first = process.stdout.readline()
        match = re.search(r"127\.0\.0\.1:(\d+)", first)
        if match is None:
            process.kill()
            raise CommandError(f"port-forward to {target}: {process.stderr.read().strip()}")
        yield f"127.0.0.1:{match[1]}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
        process.stderr.close()
