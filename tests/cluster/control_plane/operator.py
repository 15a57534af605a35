"""The operator of the checkout as a process, on a control plane."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from tests.cluster.control_plane.child import Child
from tests.cluster.control_plane.plane import ControlPlane

ACTS = "all caches are filled"
TROUBLE = ("Traceback", "this is a bug", "Task exception", "never awaited")
"""What the log of an operator must not hold."""


@contextlib.contextmanager
def operating(
    plane: ControlPlane, log: Path, *extra: str, user: str = "admin", kubeconfig: Path | None = None
) -> Iterator[Child]:
    """The operator, from when it acts until the block ends.

    Args:
        plane: Where it works.
        log: Where its output is appended.
        extra: Further arguments.
        user: As whom it works.
        kubeconfig: Where it finds the API server, if elsewhere than at the plane's own address.
    """
    before = log.read_text().count(ACTS) if log.exists() else 0
    arguments = ["--liveness", "", "--default-image", "registry.invalid/trainer:1", *extra]
    child = Child(
        "operator",
        [sys.executable, "-m", "sid_operator", *arguments],
        log=log,
        env={"KUBECONFIG": str(kubeconfig or plane.kubeconfig(user))},
    )
    try:
        child.wait_until("the operator acts", lambda: child.told().count(ACTS) > before, 60)
        yield child
    finally:
        if child.code is None:
            child.end()


@contextlib.asynccontextmanager
async def operating_beside(
    plane: ControlPlane, log: Path, *extra: str, kubeconfig: Path
) -> AsyncIterator[Child]:
    """:func:`operating`, where what it depends on is served by this event loop."""
    manager = operating(plane, log, *extra, kubeconfig=kubeconfig)
    child = await asyncio.to_thread(manager.__enter__)
    try:
        yield child
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


def complaints(log: Path) -> list[str]:
    """Lines of the log that tell of a bug."""
    return [
        line
        for line in log.read_text(errors="replace").splitlines()
        if any(word in line for word in TROUBLE)
    ]


def rewritten(kubeconfig: Path, url: str, target: Path) -> Path:
    """A copy of a kubeconfig that finds the API server elsewhere."""
    content = json.loads(kubeconfig.read_text())
    content["clusters"][0]["cluster"]["server"] = url
    target.touch(mode=0o600)
    target.write_text(json.dumps(content))
    return target
