"""The operator of the checkout as a process, which a test may kill, freeze and start again."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sid_operator.crd.document import custom_resource_definition
from tests.cluster import kubectl, operators

QUICK_LEASE = (
    *("--lease-duration", "8", "--lease-renew-interval", "1"),
    *("--lease-renew-deadline", "6"),
)
"""Tests need not wait for the 15 s after which another process may take over; nor does an API
server that says nothing for some seconds end an operator."""

PATIENT_LEASE: tuple[str, ...] = ()
"""The operator's own times: for tests that take long, on machines that are busy."""


@dataclass
class Operator:
    """The operator of the checkout as a process, serving one namespace."""

    namespace: str
    log: Path
    extra: tuple[str, ...] = ()
    lease: tuple[str, ...] = QUICK_LEASE
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it and wait until it acts."""
        before = self.acting()
        self.launch()
        kubectl.wait_until("the operator acts", lambda: self.acting() > before, seconds=60)

    def launch(self) -> None:
        """Start it."""
        arguments = [
            *("--namespace", self.namespace, "--lease-namespace", self.namespace),
            *("--liveness", "", *self.lease, *self.extra),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sid_operator", *arguments],
                stdout=log,
                stderr=log,
                env=kubectl.environment(),
            )

    def acting(self) -> int:
        """How often a process of it has begun to act."""
        return self.told().count("all caches are filled")

    def told(self) -> str:
        """Its log."""
        return self.log.read_text() if self.log.exists() else ""

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; gives the exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(timeout=30)
        self.process = None
        return code


@contextlib.contextmanager
def running(operator: Operator) -> Iterator[Operator]:
    """Whatever happens to it within, no process of it is left."""
    try:
        yield operator
    finally:
        if operator.process is not None:
            operator.end(signal.SIGKILL)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """The CRD is there, and no installed operator acts meanwhile."""
    kubectl.apply(custom_resource_definition())
    kubectl.wait_established("siddistillations.sid-dit.dev")
    with operators.paused():
        yield
