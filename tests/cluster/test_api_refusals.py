"""What a real API server refuses of a resource, and why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster import kubectl
from tests.cluster.cases import Resource, create, resource
from tests.cluster.invalid_cases import INVALID

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("api_group")]


@pytest.mark.parametrize(("changes", "message"), INVALID.values(), ids=INVALID)
def test_invalid_resource_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(kubectl.CommandError) as refused:
        create(resource(changes))
    assert message in str(refused.value)


def test_two_volumes_need_two_names_and_two_paths() -> None:
    def two(**second: str) -> Resource:
        first = {"name": "a", "claimName": "c", "mountPath": "/mnt/a"}
        return resource({"spec/workers/volumes": [first, {**first, **second}]})

    create(two(name="b", mountPath="/mnt/b"))
    with pytest.raises(kubectl.CommandError, match="two volumes have the same mountPath"):
        create(two(name="b"))
    with pytest.raises(kubectl.CommandError, match="Duplicate value"):
        create(two(mountPath="/mnt/b"))


def test_server_side_apply_refuses_unknown_fields() -> None:
    with pytest.raises(kubectl.CommandError, match="field not declared in schema"):
        kubectl.kubectl(
            *("apply", "--server-side", "--dry-run=server", "--validate=false", "-f", "-"),
            stdin=json.dumps(resource({"spec/workers/nodez": 2})),
        )
