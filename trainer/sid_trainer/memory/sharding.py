"""What DeepSpeed's ZeRO-3 keeps for a network, derived from the engine's own configuration.

Checked against what DeepSpeed 0.19 allocates (tests): a parameter's shard is ``ceil(numel / N)``
elements on each of N processes; a trained network has the compute copy, the optimizer's own copy
(also where both are of one type), Adam's two moments, and one buffer that gradients accumulate in;
and, whole on every process, a reduction bucket and the parameters too small to share out.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sid_trainer.contract import FailureReason, TrainerError

MOST = 2**53
"""Elements that a setting is believed."""
_BYTES = {"fp32": 4, "bf16": 2}
DEFAULTS: Mapping[str, int] = {
    "reduce_bucket_size": 500_000_000,
    "sub_group_size": 1_000_000_000,
    "stage3_prefetch_bucket_size": 50_000_000,
    "stage3_max_live_parameters": 1_000_000_000,
    "stage3_param_persistence_threshold": 100_000,
    "stage3_max_reuse_distance": 1_000_000_000,
}
"""DeepSpeed's own, in elements."""


@dataclass(frozen=True)
class NetworkSize:
    """A network, as far as its size goes.

    Attributes:
        parameters: elements of each parameter.
        buffers: elements of all buffers, which are never shared out.
        largest_module: most elements that are gathered at once: a whole block's, or the own ones
            of a module outside of blocks.
    """

    parameters: Sequence[int]
    buffers: int
    largest_module: int

    @functools.cached_property
    def by_size(self) -> Mapping[int, int]:
        """How many parameters there are of each size: thousands have some dozen sizes."""
        return Counter(self.parameters)

    @property
    def total(self) -> int:
        """Number of parameters."""
        return sum(numel * count for numel, count in self.by_size.items())

    def shard(self, processes: int) -> int:
        """Elements of one process's shards, padding included."""
        return sum(math.ceil(numel / processes) * n for numel, n in self.by_size.items())


@dataclass(frozen=True)
class ZeroSettings:
    """Bytes an element and sizes in elements, of one engine.

    Attributes:
        compute: bytes of a weight as networks compute with it.
        master: bytes of the optimizer's own copy of it, which it has in every precision.
        moments: bytes of Adam's two moments.
        accumulate: bytes of an accumulated gradient.
        communicate: bytes of a gradient on its way between processes.
        offloaded: the optimizer's weights, moments and gradients are in host memory.
    """

    compute: int
    master: int
    moments: int
    accumulate: int
    communicate: int
    offloaded: bool
    reduce_bucket: int
    sub_group: int
    prefetch: int
    live: int
    persistence: int
    reuse_distance: int

    @classmethod
    def of(cls, engine: Mapping[str, Any]) -> ZeroSettings:
        """Settings of a DeepSpeed configuration, its defaults filled in.

        Raises:
            TrainerError: ``InvalidConfiguration``, naming the setting that is not understood.
        """
        bf16, zero = engine["bf16"], engine["zero_optimization"]
        compute = 2 if bf16["enabled"] else 4
        pure = bool(bf16.get("bf16_master_weights_and_grads"))
        accumulate = engine.get("data_types", {}).get("grad_accum_dtype")
        communicate = engine.get("communication_data_type")
        offload = (zero.get("offload_optimizer") or {}).get("device", "none")
        optimizer = compute if pure else 4
        size = {name: _elements(name, zero.get(name, value)) for name, value in DEFAULTS.items()}
        return cls(
            compute=compute,
            master=optimizer,
            moments=2 * (2 if bf16.get("bf16_optimizer_states") else 4),
            accumulate=_BYTES[accumulate] if accumulate else compute,
            communicate=_BYTES[communicate] if communicate else compute,
            offloaded=offload != "none",
            reduce_bucket=size["reduce_bucket_size"],
            sub_group=size["sub_group_size"],
            prefetch=size["stage3_prefetch_bucket_size"],
            live=size["stage3_max_live_parameters"],
            persistence=size["stage3_param_persistence_threshold"],
            reuse_distance=size["stage3_max_reuse_distance"],
        )

    @property
    def optimizer(self) -> int:
        """Bytes a weight that the optimizer keeps besides the compute copy, gradients left out."""
        return self.master + self.moments

    def persistent(self, network: NetworkSize) -> int:
        """Bytes of the parameters that every process has whole, besides their shards."""
        small = (numel * n for numel, n in network.by_size.items() if numel <= self.persistence)
        return self.compute * sum(small)

    def gathered(self, network: NetworkSize, networks: int) -> int:
        """Most bytes of weights that are whole at a time: an upper bound.

        DeepSpeed fetches ahead until ``stage3_max_live_parameters`` are whole. At the end of a
        forward pass it keeps modules that the backward pass will want within
        ``stage3_max_reuse_distance`` parameters, there and back, hence half of it, however many
        are whole. Of the one network at work there are besides a module that is fetched when it is
        needed, and one that was let go and is still computed with.

        Args:
            network: its size.
            networks: how many such networks keep theirs until a backward pass.
        """
        sizes = network.by_size.items()
        large = sum(numel * n for numel, n in sizes if numel > self.persistence)
        kept = networks * min(large, max(self.live, self.reuse_distance // 2))
        return self.compute * min(networks * large, kept + 2 * network.largest_module)

    def in_flight(self, network: NetworkSize) -> int:
        """Bytes of the buffer that fetched weights arrive in, before they are cut apart."""
        return self.compute * min(network.total, max(self.prefetch, network.largest_module))

    def bucket(self) -> int:
        """Bytes of the reduction bucket, allocated in full whatever the network's size."""
        return self.communicate * self.reduce_bucket

    def reduction(self, network: NetworkSize) -> int:
        """Most bytes of gradients copied while a bucket is reduced."""
        return self.communicate * min(network.total, self.reduce_bucket)

    def step(self, network: NetworkSize, processes: int) -> int:
        """Most bytes copied while the optimizer steps: the gradients of one sub-group."""
        if self.offloaded:
            return 0
        largest = max(network.by_size) // processes
        return (self.master or self.compute) * min(
            network.shard(processes), self.sub_group + largest
        )


def _elements(name: str, value: object) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST:
        return int(value)
    raise TrainerError(
        FailureReason.INVALID_CONFIGURATION,
        f"deepspeed.config.zero_optimization.{name} is {str(value)[:100]!r}: give a number of "
        "elements",
    )
