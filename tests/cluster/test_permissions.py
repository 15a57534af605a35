"""The installed operator is granted what it uses, and nothing else: roles against the audit log.

This test is the last of the session (:mod:`tests.cluster.conftest`), so that what the operator did
in all others counts as well: a request that was refused at any time fails it, but while a test had
the chart uninstalled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from tests.cluster import install, kubectl, life, operators, permissions
from tests.cluster.local.settings import default_paths

pytestmark = pytest.mark.cluster


@contextmanager
def started_anew() -> Iterator[None]:
    """The installed operator finds no Lease, as on the day that it was installed."""
    with operators.paused():
        lease = ("lease", install.RELEASE, "-n", install.NAMESPACE)
        kubectl.kubectl("delete", *lease, "--ignore-not-found")
    yield


def test_the_installed_operator_uses_all_that_it_is_granted_and_is_refused_nothing(
    namespace: str, session_start: datetime
) -> None:
    with started_anew():
        life.whole(namespace)
    account = (install.NAMESPACE, install.RELEASE)
    grants = permissions.granted(*account)
    user = permissions.account_name(*account)
    asked = permissions.requests(default_paths().audit_log, user, session_start)
    assert len(grants) > 20
    assert permissions.unused(grants, asked) == []
    absent = permissions.absences(default_paths().audit_log, permissions.sources(*account))
    assert permissions.refused(asked, absent) == []
