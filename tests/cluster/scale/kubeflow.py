"""Kubeflow Trainer and the JobSet controller: their manifests, and their processes.

Built from their Go modules; CRDs and webhook registrations are read from the modules' sources. What
differs from an installation in a cluster: they run as processes beside the API server, which calls
their webhooks by URL, with certificates made here; metrics are not served (ours neither).
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.control_plane.child import START_SECONDS, Child
from tests.cluster.control_plane.plane import ControlPlane
from tests.cluster.local import golang, pki
from tests.cluster.local.settings import default_paths
from tests.loopback import free_port

Object = dict[str, Any]
ACTS = "Starting workers"
LEADER = {"leaderElect": True, "resourceNamespace": "default"}
TIMES = {"leaseDuration": "15s", "renewDeadline": "10s", "retryPeriod": "2s"}
POD_SELECTOR = {
    "matchExpressions": [{"key": "jobset.sigs.k8s.io/jobset-name", "operator": "Exists"}]
}
"""As JobSet's chart has it: other pods are none of its webhooks'."""


@dataclass(frozen=True)
class Program:
    """One of the two.

    Attributes:
        user: As whom it asks the API server.
        module: Go module that it is in.
        file: Name of its binary.
        crds: Where the module has its CRDs.
        webhooks: Where the module has its webhook registrations.
        controllers: How many controllers it has, each of which says that it acts.
        configuration: Its settings: those of its manifests, but that certificates are made here.
    """

    user: str
    module: str
    file: str
    crds: str
    webhooks: str
    controllers: int
    configuration: Object


TRAINER = Program(
    user="kubeflow-trainer",
    module="github.com/kubeflow/trainer/v2",
    file="trainer-controller-manager",
    crds="manifests/base/crds/*_*.yaml",
    webhooks="manifests/base/webhook/manifests.yaml",
    controllers=3,
    configuration={
        "apiVersion": "config.trainer.kubeflow.org/v1alpha1",
        "leaderElection": {**LEADER, **TIMES, "resourceName": "trainer.kubeflow.org"},
        "controller": {
            "groupKindConcurrency": {
                "TrainJob.trainer.kubeflow.org": 5,
                "TrainingRuntime.trainer.kubeflow.org": 1,
                "ClusterTrainingRuntime.trainer.kubeflow.org": 1,
            }
        },
        "certManagement": {"enable": False},
        "clientConnection": {"qps": 50, "burst": 100},
    },
)
JOBSET = Program(
    user="jobset",
    module="sigs.k8s.io/jobset",
    file="jobset",
    crds="config/components/crd/bases/*.yaml",
    webhooks="config/components/webhook/manifests.yaml",
    controllers=2,
    configuration={
        "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
        "leaderElection": LEADER,
        "internalCertManagement": {"enable": False},
    },
)
PROGRAMS = (TRAINER, JOBSET)


class Kubeflow:
    """Both of them, built and set up for one control plane.

    Args:
        plane: Where they work.
        root: A new directory for what they need.
    """

    def __init__(self, plane: ControlPlane, root: Path) -> None:
        self._plane = plane
        self._root = root
        cache = default_paths().cache
        self._built = golang.binaries(cache, golang.TRAINER)
        self._sources = {
            each.user: golang.source_of(cache, golang.TRAINER, each.module) for each in PROGRAMS
        }
        self._ports = {each.user: free_port() for each in PROGRAMS}
        root.mkdir()
        pki.create(root / "pki", servers=(pki.API_SERVER,), clients=(), url=plane.url)
        for each in PROGRAMS:
            self._configure(each)

    def crds(self) -> list[Object]:
        """Their CRDs."""
        files = [
            file for each in PROGRAMS for file in sorted(self._sources[each.user].glob(each.crds))
        ]
        return [yaml.safe_load(file.read_text()) for file in files]

    def webhooks(self) -> list[Object]:
        """Their webhook registrations, which lead to the processes of :meth:`launched`."""
        found = []
        for each in PROGRAMS:
            text = (self._sources[each.user] / each.webhooks).read_text()
            for document in filter(None, yaml.safe_load_all(text)):
                document["metadata"]["name"] = each.user
                for webhook in document["webhooks"]:
                    self._direct(webhook, each)
                found.append(document)
        return found

    @contextlib.contextmanager
    def launched(self) -> Iterator[Sequence[Child]]:
        """Their processes, from when they act until the block ends."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self._process(each)) for each in PROGRAMS]

    def _direct(self, webhook: Object, program: Program) -> None:
        authority = (self._root / "pki" / f"{pki.AUTHORITY}.crt").read_bytes()
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = {
            "url": f"https://127.0.0.1:{self._ports[program.user]}{path}",
            "caBundle": base64.b64encode(authority).decode(),
        }
        if path.endswith("-pod"):
            webhook["objectSelector"] = POD_SELECTOR

    def _configure(self, program: Program) -> None:
        content = {
            **program.configuration,
            "kind": "Configuration",
            "metrics": {"bindAddress": "0"},
            "webhook": {"port": self._ports[program.user], "host": "127.0.0.1"},
            "health": {"healthProbeBindAddress": "0"},
        }
        (self._root / f"{program.user}.json").write_text(json.dumps(content))
        certificates = self._root / program.user / "k8s-webhook-server" / "serving-certs"
        certificates.mkdir(parents=True)
        for ending in ("crt", "key"):
            issued = self._root / "pki" / f"{pki.API_SERVER.file}.{ending}"
            shutil.copy(issued, certificates / f"tls.{ending}")

    @contextlib.contextmanager
    def _process(self, program: Program) -> Iterator[Child]:
        user, log = program.user, self._root / f"{program.user}.log"
        due = program.controllers + (log.read_text().count(ACTS) if log.exists() else 0)
        child = Child(
            user,
            [str(self._built / program.file), f"--config={self._root}/{user}.json"],
            log=log,
            # Webhook certificates are looked for below the folder for temporary files.
            env={
                "KUBECONFIG": str(self._plane.kubeconfig(user)),
                "TMPDIR": str(self._root / user),
            },
        )
        port = self._ports[user]
        try:
            child.wait_until(f"{user} serves webhooks", lambda: _answers(port), START_SECONDS)
            child.wait_until(f"{user} acts", lambda: child.told().count(ACTS) >= due, START_SECONDS)
            yield child
        finally:
            child.end()


def versions() -> str:
    """Which versions are built."""
    required = (golang.TRAINER.source / "go.mod").read_text()
    found = []
    for each, name in zip(PROGRAMS, ("Kubeflow Trainer", "JobSet"), strict=True):
        match = re.search(rf"{re.escape(each.module)} (v[\w.-]+)", required)
        assert match is not None, f"{each.module} is not in go.mod"
        found.append(f"{name} {match[1]}")
    return ", ".join(found)


def _answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
