"""What an estimate consists of, and how people and programs read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sid_trainer.memory.accounts import GIB, Account, GpuNeed


@dataclass(frozen=True, kw_only=True)
class Estimate(GpuNeed):
    """What a run needs: on each GPU, on a node, and in the bucket.

    Attributes:
        title: the run in a line.
        device: that the networks are on. On ``cpu`` what is told of a GPU is memory of a process.
        parameters: of one of the three networks.
        node: host memory of the node that needs most.
        disk: its disk.
        storage: objects in the bucket.
    """

    title: str
    device: Literal["cuda", "cpu"]
    parameters: int
    node: Account
    disk: Account
    storage: Account

    def fits(self, capacity: int) -> bool:
        """Whether a GPU of ``capacity`` bytes is enough, if one is needed."""
        return self.device == "cpu" or super().fits(capacity)


def as_text(estimate: Estimate, capacity: int) -> str:
    """The estimate as a table, sizes in GiB."""
    lines = [estimate.title, f"{estimate.parameters / 1e9:.2f} B parameters in each of 3 networks"]
    of_each = "GPU" if estimate.device == "cuda" else "process"
    lines += ["", *_table(f"each {of_each}, always", estimate.resident)]
    for phase in estimate.phases:
        mark = " (the largest)" if phase is estimate.largest_phase else ""
        lines += ["", *_table(f"each {of_each}, {phase.name}{mark}", phase)]
    besides = "" if estimate.device == "cuda" else ", besides its processes"
    lines += ["", *_table(f"each node, host memory{besides}", estimate.node)]
    lines += ["", *_table("each node, disk", estimate.disk)]
    lines += ["", *_table("storage", estimate.storage)]
    return "\n".join([*lines, "", verdict(estimate, capacity), ""])


def verdict(estimate: Estimate, capacity: int) -> str:
    """One line: what a GPU needs, and whether it has that; on the CPU, what a process needs."""
    need, room = estimate.per_gpu / GIB, capacity / GIB
    if estimate.device == "cpu":
        return f"needs at most {need:.1f} GiB of host memory a process, and no GPU"
    if estimate.fits(capacity):
        return f"needs {need:.1f} GiB a GPU: fits into {room:.1f} GiB, {room - need:.1f} to spare"
    return f"needs {need:.1f} GiB a GPU: does NOT fit into {room:.1f} GiB, by {need - room:.1f} GiB"


def as_json(estimate: Estimate, capacity: int) -> dict[str, Any]:
    """The estimate for programs, sizes in bytes."""
    return {
        "title": estimate.title,
        "parameters": estimate.parameters,
        "perGpu": estimate.per_gpu,
        "capacity": capacity,
        "fits": estimate.fits(capacity),
        "resident": _json(estimate.resident),
        "phases": [{"name": phase.name, **_json(phase)} for phase in estimate.phases],
        "node": _json(estimate.node),
        "disk": _json(estimate.disk),
        "storage": _json(estimate.storage),
    }


def _table(title: str, account: Account) -> list[str]:
    rows = [(part.name, part.size) for part in account.parts if part.size]
    body = [f"  {name:58} {size / GIB:9.2f}" for name, size in rows]
    return [f"{title + ':':60} {'GiB':>9}", *body, f"  {'together':58} {account.size / GIB:9.2f}"]


def _json(account: Account) -> dict[str, Any]:
    return {"size": account.size, "parts": {part.name: part.size for part in account.parts}}
