"""What ZeRO-3 adds to a module's parameters, in one place.

A partitioned parameter has ``ds_tensor`` (this rank's compute shard, 1-D), ``ds_shape`` and
``ds_numel`` (of the whole). DeepSpeed types none of it, hence ``Any`` here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import deepspeed
from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
from torch import nn


def partitioned(config: dict[str, Any]) -> Any:
    """Context in which new modules are partitioned as they are built."""
    return deepspeed.zero.Init(config_dict_or_path=config)


def parameters(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Partitioned parameters of a module by name."""
    yield from module.named_parameters()


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


def refresh(zero: Any) -> None:
    """Drop every gathered parameter and gather the small ones anew, in one collective."""
    zero.empty_partition_cache()
    persistent = zero.persistent_parameters
    if persistent:
        persistent[0].all_gather_coalesced(persistent).wait()
