"""What ZeRO-3 adds to a module's parameters, in one place.

A partitioned parameter has ``ds_tensor`` (this rank's compute shard, 1-D), ``ds_shape`` and
``ds_numel`` (of the whole). DeepSpeed types none of it, hence ``Any`` here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import deepspeed
from torch import nn


def partitioned(config: dict[str, Any]) -> Any:
    """Context in which new modules are partitioned as they are built."""
    return deepspeed.zero.Init(config_dict_or_path=config)


def parameters(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Partitioned parameters of a module by name."""
    yield from module.named_parameters()


def release(zero: Any) -> None:
    """Drop every gathered parameter of an engine.

    ZeRO-3 by itself keeps those of modules whose inputs need no gradient.

    Args:
        zero: ``engine.optimizer``, which an engine without optimizer has too.
    """
    zero.empty_partition_cache()


def regather(zero: Any) -> None:
    """Gather the small parameters that ZeRO-3 keeps whole, in one go."""
    persistent = zero.persistent_parameters
    if persistent:
        persistent[0].all_gather(persistent)
