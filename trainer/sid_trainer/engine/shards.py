"""This rank's part of a trained network under ZeRO-3: weights and Adam's moments.

The weights are those that the optimizer steps: fp32, but with ``pure-bf16`` bf16. They and the
moments are in host memory where the optimizer is offloaded.

The one place that reads DeepSpeed's inner tables (``fp16_groups`` and
``fp32_partitioned_groups_flat`` of the ZeRO-3 optimizer, DeepSpeed 0.19): each sub-group of
parameters has one flat tensor, in which the parameters' shards follow one another.

Rules this module keeps:

* Shards are views: what is written to them is what the optimizer goes on with.
* After weights were written, :meth:`TrainedShards.publish` makes the compute copies from them,
  and no gathered copy of an older value may remain, nor be made by a gather that is ahead of them.
* The compute copies are other memory than the weights, also where both are of one type: showing
  an average must not change what is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sid_trainer.engine import partition

ADAM_MOMENTS = ("exp_avg", "exp_avg_sq")


class TrainedShards:
    """Shards of the parameters of one DeepSpeed engine, by parameter name.

    Args:
        engine: a ZeRO-3 engine with an Adam optimizer.
    """

    def __init__(self, engine: Any) -> None:
        self._zero = engine.optimizer
        self._module: nn.Module = engine.module
        partition.require_plain_shards(self._module, engine.device, self._zero.dtype)
        _refuse_shared_memory(self._zero.fp16_partitioned_groups_flat, self._flat)
        names = {id(parameter): name for name, parameter in partition.parameters(self._module)}
        self._groups = [[names[id(p)] for p in group] for group in self._zero.fp16_groups]
        self._lengths = {
            name: parameter.ds_tensor.numel()
            for name, parameter in partition.parameters(self._module)
        }

    @property
    def weights(self) -> dict[str, Tensor]:
        """The optimizer's weights, 1-D views."""
        return self._views(self._zero.fp32_partitioned_groups_flat)

    @property
    def moments(self) -> dict[str, dict[str, Tensor]]:
        """Adam's moments by name (``exp_avg``, ``exp_avg_sq``); empty before the first step."""
        states = [self._adam.state.get(flat, {}) for flat in self._flat]
        if not all(moment in state for state in states for moment in ADAM_MOMENTS):
            return {}
        return {moment: self._views([state[moment] for state in states]) for moment in ADAM_MOMENTS}

    @property
    def steps(self) -> int:
        """Optimizer steps taken."""
        return int(self._adam.state.get(self._flat[0], {}).get("step", 0))

    def restore(
        self, weights: Mapping[str, Tensor], moments: Mapping[str, Mapping[str, Tensor]], steps: int
    ) -> None:
        """Go on from saved shards; the compute copies follow."""
        if steps:  # Adam of a network that was never updated has no state yet
            self._make_adam_state(steps)
        _copy_all(self.weights, weights)
        for name, shards in self.moments.items():
            _copy_all(shards, moments[name])
        self.publish()

    def publish(self) -> None:
        """Make the compute copies of all parameters from the optimizer's weights."""
        self.show(self.weights)

    def show(self, weights: Mapping[str, Tensor]) -> None:
        """Make the compute copies from other shards, leaving the optimizer's alone."""
        for name, parameter in partition.parameters(self._module):
            parameter.ds_tensor.data.copy_(weights[name])
        partition.order_gathers(self._zero)
        partition.refresh(self._zero)

    def gather(
        self, shards: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
    ) -> dict[str, Tensor] | None:
        """Whole tensors of a type in rank 0's host memory, one after another; a collective.

        Shards are converted before they travel, so that no second copy is ever held.

        Returns:
            Parameters by name on rank 0, None on the others.
        """
        whole: dict[str, Tensor] = {}
        first = torch.distributed.get_rank() == 0
        for name, parameter in partition.parameters(self._module):
            shard = shards[name].contiguous().to(parameter.ds_tensor.device, dtype)
            joined = shard.new_empty(shard.numel() * torch.distributed.get_world_size())
            torch.distributed.all_gather_into_tensor(joined, shard)
            if first:
                numel = parameter.ds_numel
                whole[name] = joined[:numel].reshape(parameter.ds_shape).cpu()
        return whole if first else None

    @property
    def _flat(self) -> list[Tensor]:
        flat: list[Tensor] = self._zero.fp32_partitioned_groups_flat
        return flat

    @property
    def _adam(self) -> torch.optim.Optimizer:
        adam: torch.optim.Optimizer = self._zero.optimizer
        return adam

    def _views(self, flat: list[Tensor]) -> dict[str, Tensor]:
        return {
            name: view
            for names, tensor in zip(self._groups, flat, strict=True)
            for name, view in zip(
                names,
                torch.split(tensor.detach(), [self._lengths[name] for name in names]),
                strict=True,
            )
        }

    def _make_adam_state(self, steps: int) -> None:
        """Write the state that torch's Adam makes at its first step."""
        fused = self._adam.param_groups[0]["fused"]
        for flat in self._flat:
            self._adam.state[flat] = {
                # The fused kernel counts where the weights are, the others on the CPU.
                "step": torch.tensor(float(steps), device=flat.device if fused else "cpu"),
                **{moment: torch.zeros_like(flat) for moment in ADAM_MOMENTS},
            }


def _refuse_shared_memory(compute: list[Tensor], weights: list[Tensor]) -> None:
    for ours, theirs in zip(compute, weights, strict=True):
        if ours.data_ptr() == theirs.data_ptr():
            raise RuntimeError("this DeepSpeed shares memory of weights and compute copies")


def _copy_all(targets: Mapping[str, Tensor], sources: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(sources[name])
