"""What one rank must write down so that a run can be resumed exactly.

Rules this module keeps:

* A :class:`RankState` is plain data: tensors on the CPU that nobody else writes to (a store may
  upload them in the background), and JSON. It knows nothing of DeepSpeed or of storage.
* Tensors are named ``<network>/<part>/<parameter>``, for instance
  ``student/exp_avg/proj_out.weight``. Each is this rank's shard of the flattened parameter:
  ``ceil(numel / worldSize)`` elements, the last rank's padded with zeros. Joining the shards of
  all ranks and cutting at ``numel`` gives the parameter, so a state can be laid out anew for
  another number of ranks.
* No random state is in it: every random number of a run is a function of (seed, iteration,
  sample), see :mod:`sid_trainer.method.noise`. The same holds for the order of the prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


@dataclass(frozen=True)
class RankState:
    """Tensors and facts of one rank after a finished iteration.

    Attributes:
        tensors: this rank's shards on the CPU, 1-D; fp32, or with precision ``pure-bf16`` bf16 but
            for the average.
        meta: ``iteration`` (finished iterations), ``rank``, ``worldSize``, ``seed``,
            ``steps`` (optimizer steps of each network), ``skipped`` (updates of each that were
            left out), ``numel`` (of each parameter) and ``prompts`` (their checksum).
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Json]

    def counts(self, name: str) -> dict[str, int]:
        """Whole numbers by name, out of the facts: ``steps``, ``skipped`` or ``numel``."""
        counts = self.meta[name]
        if not isinstance(counts, dict):
            raise TypeError(f"meta.{name} of the rank state is {counts!r}, not an object")
        return {key: int(str(count)) for key, count in counts.items()}


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def snapshot(tensor: Tensor) -> Tensor:
    """A copy in host memory."""
    return tensor.detach().to("cpu", copy=True)
