"""Fewer blocks instead of all: what a network's activations take grows evenly with its depth.

A network is a head, a tail, and blocks of one or two kinds in a row. Two blocks of each kind and
one more show what a block adds; the rest is multiplication.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sid_trainer.estimate.skeleton import Skeleton

Depths = Mapping[str, int]
"""Blocks by kind."""
_BASE = 2
"""Blocks of each kind measured: the first and the last may differ from the others."""


@dataclass(frozen=True)
class _Blocks:
    """How a network's class is told its depth."""

    count: Callable[[Mapping[str, Any]], Depths]
    settings: Callable[[Depths], Mapping[str, Any]]


def _sd3_count(network: Mapping[str, Any]) -> Depths:
    dual = len(network.get("dual_attention_layers") or ())
    return {"dual": dual, "plain": int(network["num_layers"]) - dual}


_BLOCKS: Mapping[str, _Blocks] = {
    "SD3Transformer2DModel": _Blocks(
        _sd3_count,
        lambda depths: {
            "num_layers": depths["dual"] + depths["plain"],
            "dual_attention_layers": list(range(depths["dual"])),
        },
    ),
    "SanaTransformer2DModel": _Blocks(
        lambda network: {"plain": int(network["num_layers"])},
        lambda depths: {"num_layers": depths["plain"]},
    ),
    "FluxTransformer2DModel": _Blocks(
        lambda network: {
            "double": int(network["num_layers"]),
            "single": int(network["num_single_layers"]),
        },
        lambda depths: {"num_layers": depths["double"], "num_single_layers": depths["single"]},
    ),
}


def at_full_depth(
    skeleton: Skeleton, network: str, measure: Callable[[Skeleton], Mapping[str, int]]
) -> dict[str, int]:
    """What ``measure`` would give for the whole network, from shallow ones.

    Args:
        skeleton: the pipeline.
        network: folder of its network.
        measure: named byte counts of a pipeline, each linear in the depth.
    """
    class_name = skeleton.class_of(network)
    blocks = _BLOCKS.get(class_name[1]) if class_name else None
    if blocks is None:
        return dict(measure(skeleton))
    full = blocks.count(skeleton.components[network])
    base = {kind: min(_BASE, count) for kind, count in full.items()}

    def at(depths: Depths) -> Mapping[str, int]:
        return measure(skeleton.with_component(network, **blocks.settings(depths)))

    shallow = at(base)
    result = dict(shallow)
    for kind, count in full.items():
        if count > base[kind]:
            deeper = at({**base, kind: base[kind] + 1})
            for name, size in shallow.items():
                result[name] += (count - base[kind]) * (deeper[name] - size)
    return result
