"""Malformed and hostile resources against the real API server and the operator of the checkout.

Each is refused, or ends in a condition; the operator never logs a traceback, never dies, and makes
nothing that the resource's author could not have made.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sid_operator.crd.document import custom_resource_definition
from sid_operator.kube.kinds import EVENTS, LEASES
from tests.cluster.control_plane.api import connected
from tests.cluster.control_plane.operator import complaints, operating
from tests.cluster.control_plane.plane import running
from tests.cluster.hostile import campaign, generate
from tests.cluster.scale.audit import AuditLog

pytestmark = pytest.mark.cluster

SEED = 20261126
OPERATOR = "sid-operator"
ALONE = ("--leader-election", "no")


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(300, id="some"),
        pytest.param(5000, id="campaign", marks=pytest.mark.campaign),
    ],
)
async def test_hostile_resources_are_refused_or_end_in_a_condition(
    count: int, tmp_path: Path
) -> None:
    log = tmp_path / "operator.log"
    with running(tmp_path, users=(OPERATOR,)) as plane:
        async with connected(plane) as api:
            await api.install_crd(custom_resource_definition())
            # Without a Lease: a machine that is busy with the cases must not end it for that.
            with operating(plane, log, *ALONE, user=OPERATOR) as operator:
                outcome = await campaign.carried_out(api, generate.cases(SEED, count))
                assert operator.code is None, "the operator died"
        requests = AuditLog(plane.audit).news({OPERATOR})
    print(campaign.summary(outcome))
    assert outcome.problems == []
    assert complaints(log) == []
    assert outcome.answers[201] > count / 8
    assert outcome.jobs > count / 16
    written = {each.namespace for each in requests if each.writes and each.what != LEASES.plural}
    assert written == {generate.NAMESPACE}, EVENTS.plural
