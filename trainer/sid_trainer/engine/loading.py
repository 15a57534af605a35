"""Weights from safetensors into partitioned networks, shard by shard.

Every rank maps the files and copies only its own shard of each parameter, so a network is never
whole in any process, and nothing is communicated. Parameters must have been partitioned by
``deepspeed.zero.Init``: shard r of a parameter is elements ``[r n, (r + 1) n)`` of it flattened,
with ``n = ceil(numel / worldSize)``, zero-padded at the end.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from sid_trainer.engine import partition
from sid_trainer.models.weight_files import persistent_buffers
from sid_trainer.models.weights import Weights


def load_shards(files: Weights, module: nn.Module, rank: int) -> None:
    """Fill the compute shards of a partitioned module, and its persistent buffers."""
    compute = {name: parameter.ds_tensor for name, parameter in partition.parameters(module)}
    fill_shards(files, module, compute, rank)
    for name, buffer in persistent_buffers(module):
        buffer.copy_(files.read(name, buffer.shape))


def fill_shards(files: Weights, module: nn.Module, shards: Mapping[str, Tensor], rank: int) -> None:
    """Copy this rank's part of each parameter into 1-D tensors of the shards' length."""
    for name, parameter in partition.parameters(module):
        shard = shards[name].data
        whole = files.read(name, parameter.ds_shape).flatten()
        part = whole[rank * shard.numel() : (rank + 1) * shard.numel()]
        shard.zero_()
        shard[: part.numel()].copy_(part)
