"""What tests of the operator share."""

from __future__ import annotations

import pytest

from sid_operator.plan.model import Plan
from tests.unit.operator import world


@pytest.fixture
def running() -> Plan:
    """A run that trains."""
    return world.first(world.observed(pods=world.READY_PODS, report=world.report()))
