"""One who is measured: processes that turn resources of a kind into Jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.control_plane.child import Child

Object = dict[str, Any]


@dataclass
class Contender:
    """One who is measured.

    Attributes:
        name: For the report.
        versions: Of what runs.
        users: As whom its processes ask the API server.
        namespace: Where its resources are.
        path: Collection of its resources, in the API.
        plural: Of its resources, as the audit log calls them.
        manifest: Gives a resource of a name.
        job_of: Gives the name of the Job of a resource of a name.
        launch: Starts its processes; they act when it is entered.
    """

    name: str
    versions: str
    users: frozenset[str]
    namespace: str
    path: str
    plural: str
    manifest: Callable[[str], Object]
    job_of: Callable[[str], str]
    launch: Callable[[], AbstractContextManager[Sequence[Child]]]
    processes: Sequence[Child] = ()
    _stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Start its processes."""
        self.processes = self._stack.enter_context(self.launch())

    def stop(self) -> None:
        """End its processes."""
        self._stack.close()

    def cpu_seconds(self) -> float:
        """CPU time of its processes so far."""
        return sum(child.cpu_seconds() for child in self.processes)

    def memory(self) -> int:
        """Resident bytes of its processes."""
        return sum(child.memory() for child in self.processes)
