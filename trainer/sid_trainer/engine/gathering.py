"""When ZeRO-3 gathers a network's weights: each block's while the one before it computes.

DeepSpeed gathers ahead by the order in which a network's last pass used its modules, and starts
anew where a pass differs: it then gathers each block when it is needed, and ranks compare notes.
Here the passes of one network do differ (:class:`Pass`), in turn. So each kind of pass has a
coordinator of its own (DeepSpeed 0.19's ``PartitionedParameterCoordinator``), which sees passes of
that kind alone and never starts anew. Which one is at work is decided when a pass begins.

Nothing of DeepSpeed's ties gathers to what the device computes. In passes without gradients of
weights the program would run ahead and gather one block after another, faster than they are used
up. So it waits for the device before each block, see :class:`Pace`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator
from deepspeed.utils import z3_leaf_module
from torch import nn

BLOCKS_AHEAD = 2
"""Most blocks that the device has yet to finish when it is given the next."""


class Pass(Enum):
    """What a pass through a network consists of, which decides the order of its modules."""

    FORWARD = "forward"
    TO_INPUT = "forward, and backward to the input only"
    TO_WEIGHTS = "forward, and backward to weights"

    @classmethod
    def beginning(cls, network: nn.Module) -> Pass:
        """The kind of a pass that begins now."""
        if not torch.is_grad_enabled():
            return cls.FORWARD
        trained = next(network.parameters()).requires_grad
        return cls.TO_WEIGHTS if trained else cls.TO_INPUT


class Pace:
    """Keeps the program no more than :data:`BLOCKS_AHEAD` blocks ahead of the device.

    The device does not run dry by it: it has the last of these to compute meanwhile.

    Args:
        event: makes an event of the device that is at work, as ``torch.cuda.Event``.
    """

    def __init__(self, event: Callable[[], Any]) -> None:
        self._event = event
        self._begun: deque[Any] = deque()

    def begin_block(self) -> None:
        """Mark where a block begins on the current stream, and wait until an earlier one has."""
        event = self._event()
        event.record()
        self._begun.append(event)
        if len(self._begun) > BLOCKS_AHEAD:
            self._begun.popleft().synchronize()


def gather_ahead(zero: Any) -> None:
    """Have the gathers of an engine's network follow the kinds of its passes, and the device.

    Args:
        zero: ``engine.optimizer``, which an engine without optimizer has too.

    Raises:
        RuntimeError: this DeepSpeed keeps its coordinator elsewhere.
    """
    offload = getattr(zero, "parameter_offload", zero)
    _require_known(offload)
    accelerator = get_accelerator()
    pace = None if accelerator.is_synchronized_device() else Pace(accelerator.Event)
    coordinators = {kind: _Coordinator(offload, pace) for kind in Pass}

    def begin(network: nn.Module, _: tuple[Any, ...]) -> None:
        offload.param_coordinator = coordinators[Pass.beginning(network)]

    # Before DeepSpeed's own hook, which tells the coordinator that a pass begins.
    offload.module.register_forward_pre_hook(begin, prepend=True)


class _Coordinator(PartitionedParameterCoordinator):  # type: ignore[misc]
    """DeepSpeed's, as its engine makes it, at the device's pace."""

    def __init__(self, offload: Any, pace: Pace | None) -> None:
        super().__init__(
            prefetch_bucket_sz=offload._prefetch_bucket_sz,
            max_reuse_distance_in_numel=offload._max_reuse_distance_in_numel,
            max_available_parameters_in_numel=offload._max_available_parameters_in_numel,
            allgather_stream=offload._DeepSpeedZeRoOffload__allgather_stream,
            inflight_param_registry=offload.module.ds_inflight_param_registry,
            log_trace_cache_warnings=offload.log_trace_cache_warnings,
        )
        self._pace = pace

    def fetch_sub_module(self, current_submodule: nn.Module, forward: bool) -> None:
        """Gather what a module needs; called before it computes, forward and backward."""
        if self._pace is not None and z3_leaf_module(current_submodule):
            self._pace.begin_block()
        super().fetch_sub_module(current_submodule, forward)


def _require_known(offload: Any) -> None:
    """Raise unless what is replaced here is what DeepSpeed uses."""
    ours = offload.param_coordinator
    if type(ours) is not PartitionedParameterCoordinator or offload.get_param_coordinator() != ours:
        raise RuntimeError("this DeepSpeed coordinates its gathers in another way")
    if "fetch_sub_module" not in vars(PartitionedParameterCoordinator):
        raise RuntimeError("this DeepSpeed's coordinator has no fetch_sub_module")
