"""How many of a network's weights ZeRO-3 gathers ahead and keeps, by the size of its blocks.

Pure: it imports no DeepSpeed, so that memory is estimated with it, too.

DeepSpeed's own sizes are the same for every network. They gather ahead 50 million weights, which is
a sixth of a block of FLUX.1: most of each block would be waited for.
"""

from __future__ import annotations

from typing import Any

from sid_trainer.engine.deepspeed_config import merged

KEPT = 500_000_000
"""Weights of a network that may be whole at a time where two of its blocks have fewer."""


def with_gather_sizes(engine: dict[str, Any], largest: int) -> dict[str, Any]:
    """A DeepSpeed configuration with the sizes that it does not give.

    While a block computes, the next one is gathered, so two must fit among the weights that are
    whole; as many as fit besides are kept from a forward pass for its backward pass. These are
    counted there and back, hence twice.

    Args:
        engine: the configuration; what it gives is left alone.
        largest: weights of the network's largest block.
    """
    live = max(2 * largest, KEPT)
    sizes = {
        "stage3_prefetch_bucket_size": largest,
        "stage3_max_live_parameters": live,
        "stage3_max_reuse_distance": 2 * (live - 2 * largest),
    }
    return merged({"zero_optimization": sizes}, engine)
