"""What tests of the operator share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sid_operator.plan.model import Plan
from tests.unit.operator import world
from tests.unit.operator.plant import Plant, planted


@pytest.fixture
def running() -> Plan:
    """A run that trains."""
    return world.first(world.observed(pods=world.READY_PODS, report=world.report()))


@pytest.fixture
async def plant() -> AsyncIterator[Plant]:
    """A controller beside its API server, not yet started."""
    async with planted() as made:
        yield made
