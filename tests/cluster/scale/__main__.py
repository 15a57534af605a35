"""``make bench-operator``, or ``python -m tests.cluster.scale``: measures and writes the report."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from sid_operator.api.names import LABEL_DISTILLATION
from sid_operator.kube.kinds import PODS
from tests.cluster.control_plane.api import Api, connected
from tests.cluster.control_plane.plane import ControlPlane, running
from tests.cluster.local.console import step
from tests.cluster.scale import nodes, ours, theirs
from tests.cluster.scale.audit import AuditLog
from tests.cluster.scale.contender import Contender
from tests.cluster.scale.phases import created, restarted, watched
from tests.cluster.scale.report import Findings, Setting, report

CONTROLLERS = ("job-controller", "garbage-collector-controller", "serviceaccount-controller")
BLOCKS = 4
"""The contenders take turns so often, so that what else the machine does hits them alike."""
START_SECONDS = 300.0
FOLLOW_SECONDS = 15.0
"""Time for statuses to follow the pods, before the steady state is looked at."""
OWNER_LABELS = (LABEL_DISTILLATION, "jobset.sigs.k8s.io/jobset-name")
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"


def main() -> None:
    """Measure, print and write the report."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="sid-scale-") as folder:
        text = asyncio.run(measured(options, Path(folder)))
    print(text)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text, encoding="utf-8")


async def measured(options: argparse.Namespace, root: Path) -> str:
    """The report."""
    setting = Setting(options.rate, options.pods, options.running, options.steady, options.restart)
    users = (ours.USER, *theirs.USERS)
    plane_root = root / "plane"
    plane_root.mkdir()
    with running(plane_root, users=users, controllers=CONTROLLERS) as plane:
        async with connected(plane) as api, _contending(api, plane, root, options) as contenders:
            found = [Findings(who, memory=[who.memory()]) for who in contenders]
            audit = AuditLog(plane.audit)
            with step("create resources"):
                await _create(api, audit, found, options)
            async with _nodes(api, found, options.running):
                with step(f"{options.running} run for {options.steady:.0f} s"):
                    states = await watched(audit, contenders, options.steady)
                for each, state in zip(found, states, strict=True):
                    each.steady = state
                    each.memory.append(each.who.memory())
                for each in found:
                    with step(f"restart {each.who.name}"):
                        each.restart = await restarted(audit, each.who, options.restart)
            return report(found, setting)


@contextlib.asynccontextmanager
async def _contending(
    api: Api, plane: ControlPlane, root: Path, options: argparse.Namespace
) -> AsyncIterator[list[Contender]]:
    """The contenders, at work until the block ends."""
    contenders = []
    with step("install the contenders"):
        if "ours" in options.contenders:
            log = Path(options.log) if options.log else root / "operator.log"
            contenders.append(await ours.contender(api, plane, log, options.pods))
        if "theirs" in options.contenders:
            contenders.append(await theirs.contender(api, plane, root / "theirs", options.pods))
        for who in contenders:
            await _namespace(api, who.namespace)
    try:
        for who in contenders:
            who.start()
        yield contenders
    finally:
        for who in contenders:
            who.stop()


async def _namespace(api: Api, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await api.demand("POST", "/api/v1/namespaces", body)
    accounts = f"/api/v1/namespaces/{name}/serviceaccounts"
    async for _, account in api.watch_path(accounts):
        if account["metadata"]["name"] == "default":
            return


async def _create(
    api: Api, audit: AuditLog, found: Sequence[Findings], options: argparse.Namespace
) -> None:
    paced = options.resources - options.burst
    names = [f"run-{number}" for number in range(paced)]
    size = -(-paced // BLOCKS)
    for block in range(BLOCKS):
        part = names[block * size : (block + 1) * size]
        for each in found if block % 2 == 0 else reversed(found):
            each.paced += await created(api, audit, each.who, part, pause=1 / options.rate)
    names = [f"burst-{number}" for number in range(options.burst)]
    for each in found:
        each.burst += await created(api, audit, each.who, names, pause=0)
    for each in found:
        each.memory.append(each.who.memory())


@contextlib.asynccontextmanager
async def _nodes(api: Api, found: Sequence[Findings], count: int) -> AsyncIterator[None]:
    """The pods of the first resources of each contender run, until the block ends."""
    chosen = {f"run-{number}" for number in range(count)}
    played = nodes.Nodes(api, runs=lambda pod: _owner(pod) in chosen, tells=_is_rank_zero)
    async with contextlib.AsyncExitStack() as stack:
        with step(f"start the pods of {count} resources each"):
            tasks = [
                await stack.enter_async_context(nodes.running(played, each.who.namespace))
                for each in found
            ]
            pods = [pod for each in found for pod in await api.items(PODS, each.who.namespace)]
            due = sum(_owner(pod) in chosen for pod in pods)
            async with asyncio.timeout(START_SECONDS):
                await played.started(due)
            await asyncio.sleep(FOLLOW_SECONDS)
        yield
        for task in tasks:
            if task.done():
                task.result()


def _owner(pod: dict[str, Any]) -> str:
    labels = pod["metadata"]["labels"]
    return next((labels[label] for label in OWNER_LABELS if label in labels), "")


def _is_rank_zero(pod: dict[str, Any]) -> bool:
    labels = pod["metadata"]["labels"]
    return LABEL_DISTILLATION in labels and labels.get(INDEX_LABEL) == "0"


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.scale", description=__doc__)
    parser.add_argument("--resources", type=int, default=1000, help="of each contender")
    parser.add_argument("--burst", type=int, default=200, help="so many of them at once")
    parser.add_argument("--rate", type=float, default=5.0, help="the others, so many a second")
    parser.add_argument("--pods", type=int, default=2, help="of each resource")
    parser.add_argument("--running", type=int, default=100, help="whose pods run")
    parser.add_argument("--steady", type=float, default=120.0, help="seconds of the steady state")
    parser.add_argument("--restart", type=float, default=30.0, help="seconds after the restart")
    parser.add_argument("--output", type=Path, default=Path(".dev") / "bench-operator.md")
    parser.add_argument("--log", default="", help="where the operator's log is kept")
    parser.add_argument(
        "--contenders", nargs="+", choices=("ours", "theirs"), default=["ours", "theirs"]
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
