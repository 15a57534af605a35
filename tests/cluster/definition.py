"""The CRD of this tree in a group of its own, which no operator watches.

So the API can be tested beside a running operator and an installed chart, of whatever version,
without touching either. The group is new in every process.
"""

from __future__ import annotations

import copy
import uuid
from typing import Any

from sid_operator.api import names
from sid_operator.crd.document import custom_resource_definition
from tests.cluster import kubectl

GROUP = f"t{uuid.uuid4().hex[:8]}.{names.GROUP}"
API_VERSION = f"{GROUP}/{names.VERSION}"
RESOURCE = f"{names.PLURAL}.{GROUP}"
"""The resource as kubectl finds it, whatever else is called ``siddistillations``."""


def manifest() -> dict[str, Any]:
    """The generated CRD, but for the group."""
    crd = copy.deepcopy(custom_resource_definition())
    crd["metadata"]["name"] = RESOURCE
    crd["spec"]["group"] = GROUP
    return crd


def install() -> None:
    """Put it into the API server, and wait until it is served."""
    kubectl.apply(manifest())
    kubectl.wait_established(RESOURCE)
    kubectl.wait_until(
        f"{RESOURCE} can be discovered",
        lambda: RESOURCE in kubectl.kubectl("api-resources", f"--api-group={GROUP}", "-o", "name"),
        seconds=30,
    )
    kubectl.wait_until("kubectl explain knows it", _is_explained, seconds=30)


def _is_explained() -> bool:
    try:
        return bool(explain("spec"))
    except kubectl.CommandError:
        return False


def explain(field: str) -> str:
    """What ``kubectl explain`` says of a field, on one line."""
    told = kubectl.kubectl("explain", f"{names.PLURAL}.{field}", f"--api-version={API_VERSION}")
    return " ".join(told.split())


def remove() -> None:
    """Take it out of the API server, with all resources of the group."""
    kubectl.kubectl("delete", "crd", RESOURCE)
