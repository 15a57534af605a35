"""The smallest resource that the API server takes, for tests that need no run of it."""

from __future__ import annotations

from typing import Any

from sid_operator.api.names import API_VERSION, KIND

SECRET = "store"
"""The Secret that it names."""


def resource(namespace: str = "", name: str = "run", **spec: Any) -> dict[str, Any]:
    """A resource of nothing that is there.

    Args:
        namespace: Its namespace; "" leaves it to the path that the resource is posted to.
        name: Its name.
        spec: Sections of the spec, in place of those below.
    """
    place = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, **place},
        "spec": {
            "teacher": {"model": "s3://sid/teachers/none"},
            "data": {"prompts": {"uri": "s3://sid/prompts/none.txt"}},
            "checkpoint": {"bucket": "sid", "secretRef": {"name": SECRET}},
            **spec,
        },
    }
