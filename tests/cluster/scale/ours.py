"""The operator of the checkout as a contender."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from sid_operator.api.names import PLURAL
from sid_operator.crd.document import custom_resource_definition
from sid_operator.kube.kinds import DISTILLATIONS
from tests.cluster import minimal
from tests.cluster.control_plane.api import Api
from tests.cluster.control_plane.child import Child
from tests.cluster.control_plane.operator import operating
from tests.cluster.control_plane.plane import ControlPlane
from tests.cluster.scale.contender import Contender, Object

USER = "sid-operator"
NAMESPACE = "ours"


async def contender(api: Api, plane: ControlPlane, log: Path, pods: int) -> Contender:
    """The operator, with its CRD in place."""
    await api.install_crd(custom_resource_definition())

    @contextlib.contextmanager
    def launch() -> Iterator[Sequence[Child]]:
        with operating(plane, log, user=USER) as process:
            yield [process]

    versions = [f"{name} {version(name)}" for name in ("sid-operator", "kopf", "aiohttp")]
    return Contender(
        name="sid-operator",
        versions=", ".join(versions),
        users=frozenset({USER}),
        namespace=NAMESPACE,
        path=DISTILLATIONS.path(NAMESPACE),
        plural=PLURAL,
        manifest=lambda name: manifest(name, pods),
        job_of=lambda name: name,
        launch=launch,
    )


def manifest(name: str, pods: int = 1) -> Object:
    """A resource of so many pods."""
    return minimal.resource(
        name=name,
        training={"iterations": 100_000, "batchSize": 4},
        workers={"nodes": pods, "gpusPerNode": 0},
    )
