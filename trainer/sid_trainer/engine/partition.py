"""What ZeRO-3 adds to modules and their parameters, in one place.

A partitioned parameter has ``ds_tensor`` (this rank's compute shard, 1-D), ``ds_shape`` and
``ds_numel`` (of the whole). DeepSpeed types none of it, hence ``Any`` here.

Blocks are gathered as a whole. Left alone, ZeRO-3 runs Python around every linear layer and norm,
forward and backward; around a whole block it does so a tenth as often, and one large collective
takes the place of ten small ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import deepspeed
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime.zero import stage3
from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
from deepspeed.utils import set_z3_leaf_module
from torch import nn

from sid_trainer.engine.blocks import blocks


def partitioned(config: dict[str, Any]) -> Any:
    """Context in which new modules are partitioned as they are built."""
    return deepspeed.zero.Init(config_dict_or_path=config)


def gather_whole(network: nn.Module) -> None:
    """Have ZeRO-3 gather and release each block's parameters together; before its engine is made.

    Blocks get their tensors by position: ZeRO-3 sees no others, and would let parameters go before
    the backward pass that needs them.
    """
    for block in blocks(network):
        # An engine's hooks come after this one: they run in the order of their registration.
        by_position = partial(_by_position, inspect.signature(block.forward))
        block.register_forward_pre_hook(by_position, with_kwargs=True)
        set_z3_leaf_module(block, True)


def _by_position(
    signature: inspect.Signature, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    call = signature.bind(*args, **kwargs)
    call.apply_defaults()
    return call.args, call.kwargs


@contextmanager
def gradients_by_parameter() -> Iterator[None]:
    """Context in which engines are made that reduce each gradient when it is there.

    Of modules that are gathered whole DeepSpeed 0.19 reduces all gradients after every backward
    pass through the module. That is once too often where the network is frozen for another's update
    (zeros would be added), or is called twice for one backward pass.
    """
    of_whole_module = stage3.z3_leaf_parameter
    stage3.z3_leaf_parameter = lambda _: False
    try:
        yield
    finally:
        stage3.z3_leaf_parameter = of_whole_module


def parameters(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Partitioned parameters of a module by name."""
    yield from module.named_parameters()


def require_plain_shards(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Raise unless each parameter has one shard, where networks compute and as they compute.

    What this program writes into shards is else not what DeepSpeed gathers.
    """
    for name, parameter in parameters(module):
        shard = parameter.ds_tensor
        if getattr(parameter, "ds_secondary_tensor", None) is not None:
            raise RuntimeError(f"this DeepSpeed keeps a second copy of the weights of {name}")
        if (shard.device.type, shard.dtype) != (device.type, dtype):
            raise RuntimeError(
                f"this DeepSpeed keeps the shard of {name} on {shard.device} as {shard.dtype}, and "
                f"networks compute on {device} in {dtype}"
            )


def release_leftovers(zero: Any) -> None:
    """Drop gathered parameters that ZeRO-3 would have released, had it noticed their last use.

    It keeps those of modules whose inputs need no gradient. DeepSpeed releases all or nothing, so
    nothing is done where only small parameters, which it means to keep whole, are gathered.

    Args:
        zero: ``engine.optimizer``, which an engine without optimizer has too.
    """
    left = (
        parameter
        for _, parameter in parameters(zero.module)
        if parameter.ds_status is ZeroParamStatus.AVAILABLE and not parameter.ds_persist
    )
    if next(left, None) is not None:
        refresh(zero)


def order_gathers(zero: Any) -> None:
    """Have gathers that begin from now on come after what was written to shards on this stream.

    ZeRO-3 gathers on a stream of its own, which waits for no other. After a step it is in order
    only where small parameters are kept whole, because gathering these waits for the device.
    Nothing waits here: the order is the device's.
    """
    stream = zero.parameter_offload._DeepSpeedZeRoOffload__allgather_stream  # None on a CPU
    if stream is not None:
        stream.wait_stream(get_accelerator().current_stream())


def refresh(zero: Any) -> None:
    """Drop every gathered parameter and gather the small ones anew, in one collective."""
    zero.empty_partition_cache()
    persistent = zero.persistent_parameters
    if persistent:
        persistent[0].all_gather_coalesced(persistent).wait()
