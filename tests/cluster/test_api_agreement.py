"""Whatever the API server accepts, the operator can read: each field with each odd value.

Otherwise a resource could be stored that the operator fails to parse. The values are chosen to be
wrong for most fields; a few dozen of the hundreds of resources are accepted.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config

from sid_operator.api import names
from sid_operator.api.render import run_config
from sid_operator.api.spec import SiDDistillationSpec
from sid_operator.crd.document import resource_schema
from tests.cluster import definition, kubectl

pytestmark = pytest.mark.cluster

BASE: dict[str, Any] = {
    "teacher": {"model": "organisation/model"},
    "data": {"prompts": {"uri": "s3://sid/prompts.txt"}},
    "checkpoint": {"bucket": "sid", "secretRef": {"name": "s3-credentials"}},
    "workers": {
        "volumes": [{"name": "m", "claimName": "c", "mountPath": "/mnt/m"}],
        "tolerations": [{"key": "k", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "registry"}],
        "nodeAffinity": [{"key": "k", "operator": "Exists"}],
        "env": [{"name": "A", "value": "b"}],
        "resourceClaims": [{"name": "gpus", "resourceClaimTemplateName": "t"}],
    },
}
TEXTS = ("", "a", "7", "A-b_c", "a b", "a\n", "a/b", "../a", "/a/../b", "/mnt/é", "s3://sid/é", "'")
NUMBERS = (0, 1, -1, 7, 1.0, 1.5, 2**31, 2**63, 1e300, True)
OTHERS: tuple[Any, ...] = (None, [], {}, ["a"], {"a": "b"}, {"cpu": "1"}, {"cpu": -1}, {"": 1})
VALUES = TEXTS + NUMBERS + OTHERS


def paths(schema: dict[str, Any]) -> Iterator[tuple[str | int, ...]]:
    """The path of every field below a schema; the first item stands for those of a list."""
    for name, part in schema.get("properties", {}).items():
        yield (name,)
        yield from ((name, *rest) for rest in paths(part))
        yield from ((name, 0, *rest) for rest in paths(part.get("items", {})))


FIELDS = list(paths(resource_schema()["properties"]["spec"]))


def with_value(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """The base spec with ``value`` at ``path``."""
    spec = copy.deepcopy(BASE)
    node: Any = spec
    for name in path[:-1]:
        node = node[name] if isinstance(name, int) else node.setdefault(name, {})
    node[path[-1]] = value
    return spec


@pytest.fixture(scope="module")
def api(api_group: None) -> Iterator[client.CustomObjectsApi]:
    """Typed access to the API server, without a process for every request."""
    configuration = client.Configuration()
    kubeconfig = kubectl.environment()["KUBECONFIG"]
    config.load_kube_config(kubeconfig, client_configuration=configuration)
    with client.ApiClient(configuration) as connection:
        yield client.CustomObjectsApi(connection)


def accepted(api: client.CustomObjectsApi, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The spec as the server would store it; ``None`` when it refuses it."""
    document = {
        "apiVersion": definition.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "case"},
        "spec": spec,
    }
    place = (definition.GROUP, names.VERSION, "default", names.PLURAL)
    try:
        stored = api.create_namespaced_custom_object(
            *place, document, dry_run="All", field_validation="Strict"
        )
    except client.ApiException as refused:
        if refused.status not in (400, 422):
            raise
        return None
    result: dict[str, Any] = stored["spec"]
    return result


def test_accepted_specs_can_be_read_and_rendered(api: client.CustomObjectsApi) -> None:
    stored = [
        spec
        for path, value in itertools.product(FIELDS, VALUES)
        if (spec := accepted(api, with_value(path, value))) is not None
    ]
    assert len(stored) > len(FIELDS)
    for spec in stored:
        run_config(SiDDistillationSpec.model_validate(spec), "namespace", "case")
