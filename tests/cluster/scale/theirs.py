"""Kubeflow Trainer with the JobSet controller, as their manifests install them, as a contender.

Built from their Go modules; CRDs and webhook registrations are read from the modules' sources. What
differs from an installation in a cluster: they run as processes beside the API server, which calls
their webhooks by URL, with certificates made here; metrics are not served (ours neither).
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.control_plane.api import Api
from tests.cluster.control_plane.child import START_SECONDS, Child
from tests.cluster.control_plane.plane import ControlPlane
from tests.cluster.local import golang, pki
from tests.cluster.local.settings import default_paths
from tests.cluster.scale.contender import Contender, Object

TRAINER = "github.com/kubeflow/trainer/v2"
JOBSET = "sigs.k8s.io/jobset"
USERS = ("kubeflow-trainer", "jobset")
NAMESPACE = "theirs"
NODES = 2
RUNTIME = "torch-two-nodes"
ACTS = "Starting workers"
CONTROLLERS = dict(zip(USERS, (3, 2), strict=True))
"""How many controllers each process has, each of which says that it acts."""
JOBSET_WEBHOOKS = "config/components/webhook"
TIMES = {"leaseDuration": "15s", "renewDeadline": "10s", "retryPeriod": "2s"}
LEADER = {"leaderElect": True, "resourceNamespace": "default"}


async def contender(api: Api, plane: ControlPlane, root: Path) -> Contender:
    """Both controllers, with their CRDs, webhooks and a runtime in place."""
    cache = default_paths().cache
    built = golang.binaries(cache, golang.TRAINER)
    sources = {name: golang.source_of(cache, golang.TRAINER, name) for name in (TRAINER, JOBSET)}
    root.mkdir()
    pki.create(root / "pki", servers=(pki.API_SERVER,), clients=(), url=plane.url)
    ports = {name: _free_port() for name in (TRAINER, JOBSET)}
    crds = (*(sources[TRAINER] / "manifests/base/crds").glob("*_*.yaml"),)
    crds += (*(sources[JOBSET] / "config/components/crd/bases").glob("*.yaml"),)
    for file in crds:
        await _install(api, yaml.safe_load(file.read_text()))

    @contextlib.contextmanager
    def launch() -> Iterator[Sequence[Child]]:
        with contextlib.ExitStack() as stack:
            trainer = _process(root, plane, built / "trainer-controller-manager", USERS[0])
            jobset = _process(root, plane, built / "jobset", USERS[1])
            yield [stack.enter_context(each) for each in (trainer, jobset)]

    _configure(root, ports)
    with launch():  # registering a runtime asks the webhook
        for name, folder in ((TRAINER, "manifests/base/webhook"), (JOBSET, JOBSET_WEBHOOKS)):
            file = sources[name] / folder / "manifests.yaml"
            await _register_webhooks(api, root, file, USERS[name == JOBSET], ports[name])
        runtimes = "/apis/trainer.kubeflow.org/v1alpha1/clustertrainingruntimes"
        await api.demand("POST", runtimes, _runtime())
    return Contender(
        name="Kubeflow Trainer and JobSet",
        versions=", ".join(_versions()),
        users=frozenset(USERS),
        namespace=NAMESPACE,
        path=f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs",
        plural="trainjobs",
        manifest=manifest,
        job_of=lambda name: f"{name}-node-0",
        launch=launch,
    )


def manifest(name: str) -> Object:
    """A TrainJob of two pods."""
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name},
        "spec": {
            "runtimeRef": {"name": RUNTIME},
            "trainer": {"numNodes": NODES, "image": "registry.invalid/trainer:1"},
        },
    }


def _runtime() -> Object:
    """The runtime for PyTorch of their own manifests, in short."""
    container = {"name": "node", "image": "registry.invalid/trainer:1", "command": ["train"]}
    step = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}
    job = {"metadata": step, "spec": {"template": {"spec": {"containers": [container]}}}}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "ClusterTrainingRuntime",
        "metadata": {"name": RUNTIME, "labels": {"trainer.kubeflow.org/framework": "torch"}},
        "spec": {
            "mlPolicy": {"numNodes": NODES, "torch": {}},
            "template": {"spec": {"replicatedJobs": [{"name": "node", "template": job}]}},
        },
    }


def _configure(root: Path, ports: dict[str, int]) -> None:
    """Their defaults, but for loopback addresses and for who makes the certificates."""
    common = {"metrics": {"bindAddress": "0"}, "leaderElection": LEADER}
    for user, name in zip(USERS, (TRAINER, JOBSET), strict=True):
        content: dict[str, Any] = {
            **common,
            "kind": "Configuration",
            "webhook": {"port": ports[name], "host": "127.0.0.1"},
            "health": {"healthProbeBindAddress": f"127.0.0.1:{_free_port()}"},
        }
        if name == TRAINER:
            content |= {
                "apiVersion": "config.trainer.kubeflow.org/v1alpha1",
                "leaderElection": LEADER | {"resourceName": "trainer.kubeflow.org"} | TIMES,
                "controller": {
                    "groupKindConcurrency": {
                        "TrainJob.trainer.kubeflow.org": 5,
                        "TrainingRuntime.trainer.kubeflow.org": 1,
                        "ClusterTrainingRuntime.trainer.kubeflow.org": 1,
                    }
                },
                "certManagement": {"enable": False},
                "clientConnection": {"qps": 50, "burst": 100},
            }
        else:
            content |= {
                "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
                "internalCertManagement": {"enable": False},
            }
        (root / f"{user}.json").write_text(json.dumps(content))
        certificates = root / user / "k8s-webhook-server" / "serving-certs"
        certificates.mkdir(parents=True)
        for ending, there in (("crt", "tls.crt"), ("key", "tls.key")):
            issued = root / "pki" / f"{pki.API_SERVER.file}.{ending}"
            (certificates / there).write_bytes(issued.read_bytes())


@contextlib.contextmanager
def _process(root: Path, plane: ControlPlane, program: Path, user: str) -> Iterator[Child]:
    configuration, log = root / f"{user}.json", root / f"{user}.log"
    due = CONTROLLERS[user] + (log.read_text().count(ACTS) if log.exists() else 0)
    child = Child(
        user,
        [str(program), f"--config={configuration}"],
        log=log,
        # Webhook certificates are looked for below the folder for temporary files.
        env={"KUBECONFIG": str(plane.kubeconfig(user)), "TMPDIR": str(root / user)},
    )
    try:
        port = json.loads(configuration.read_text())["webhook"]["port"]
        child.wait_until(f"{user} serves its webhooks", lambda: _answers(port), START_SECONDS)
        child.wait_until(f"{user} acts", lambda: child.told().count(ACTS) >= due, START_SECONDS)
        yield child
    finally:
        child.end()


def _answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


async def _install(api: Api, crd: Object) -> None:
    name = crd["metadata"]["name"]
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await api.apply(f"{crds}/{name}", crd)
    async for _, seen in api.watch_path(crds, fieldSelector=f"metadata.name={name}"):
        conditions = (seen.get("status") or {}).get("conditions") or []
        if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            return


async def _register_webhooks(api: Api, root: Path, file: Path, user: str, port: int) -> None:
    bundle = base64.b64encode((root / "pki" / f"{pki.AUTHORITY}.crt").read_bytes()).decode()
    for document in yaml.safe_load_all(file.read_text()):
        if document is None:
            continue
        document["metadata"]["name"] = user
        for webhook in document["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            webhook["clientConfig"] = {
                "url": f"https://127.0.0.1:{port}{path}",
                "caBundle": bundle,
            }
            if "pod" in path:  # as their chart has it: other pods are none of theirs
                webhook["objectSelector"] = {
                    "matchExpressions": [
                        {"key": "jobset.sigs.k8s.io/jobset-name", "operator": "Exists"}
                    ]
                }
        plural = f"{document['kind'].lower()}s"
        await api.demand("POST", f"/apis/admissionregistration.k8s.io/v1/{plural}", document)


def _versions() -> list[str]:
    required = (golang.TRAINER.source / "go.mod").read_text()
    names = {TRAINER: "Kubeflow Trainer", JOBSET: "JobSet"}
    found = []
    for module, name in names.items():
        match = re.search(rf"{re.escape(module)} (v[\w.-]+)", required)
        assert match is not None, f"{module} is not in go.mod"
        found.append(f"{name} {match[1]}")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
