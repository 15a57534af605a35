"""A leader that was frozen: another takes over, and it changes nothing when it wakes up.

What each of them asked for is read from the API server's audit log.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from sid_operator.crd.document import custom_resource_definition
from sid_operator.kube.kinds import DISTILLATIONS, JOBS, LEASES
from tests.cluster.control_plane.api import connected
from tests.cluster.control_plane.operator import complaints, operating
from tests.cluster.control_plane.plane import running
from tests.cluster.controller import QUICK_LEASE
from tests.cluster.local import pki, waiting
from tests.cluster.scale.audit import AuditLog
from tests.cluster.scale.ours import manifest

pytestmark = pytest.mark.cluster

FROZEN, STANDBY = "first", "second"
SECONDS = 180
"""A guard against hangs: a loaded machine may be slow."""
LOST_LEADERSHIP = 3


async def test_a_frozen_leader_that_wakes_up_changes_nothing(tmp_path: Path) -> None:
    logs = {name: tmp_path / f"{name}.log" for name in (FROZEN, STANDBY)}
    with running(tmp_path, users=(FROZEN, STANDBY)) as plane:
        audit = AuditLog(plane.audit)
        async with asyncio.timeout(SECONDS), connected(plane) as api:
            await api.install_crd(custom_resource_definition())
            path = DISTILLATIONS.path("default")
            with operating(plane, logs[FROZEN], *QUICK_LEASE, user=FROZEN) as frozen:
                await api.demand("POST", path, manifest("before"))
                # Its status is the last that is written of it: nothing is on its way any more.
                await api.until(
                    path, lambda seen: "status" in seen, fieldSelector="metadata.name=before"
                )
                os.kill(frozen.pid, signal.SIGSTOP)
                for number in range(20):  # what it would do at once when it wakes up
                    await api.demand("POST", path, manifest(f"meanwhile-{number}"))
                with operating(plane, logs[STANDBY], *QUICK_LEASE, user=STANDBY):
                    await api.seen(JOBS, "default", "meanwhile-19")
                    before = audit.news()
                    os.kill(frozen.pid, signal.SIGCONT)
                    waiting.until(lambda: frozen.code is not None, what="it has ended", seconds=60)
                    after = audit.news({FROZEN})
        assert frozen.code == LOST_LEADERSHIP
        acted = {each.user for each in before if each.name == "meanwhile-19"}
        assert acted == {pki.ADMIN.user, STANDBY}
        assert [each for each in after if each.writes and each.what != LEASES.plural] == []
    assert all(complaints(log) == [] for log in logs.values())
