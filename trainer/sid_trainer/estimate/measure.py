"""``python -m sid_trainer.estimate.measure``: measure the released teachers' sizes anew.

Writes ``architectures.json`` of :mod:`sid_trainer.memory`, by which the operator tells a run's
need without torch. What grows evenly (activations with the batch and with the picture's area, to
the byte but for small change) is measured at two sizes of each. Takes some minutes.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sid_trainer.config import RunConfig
from sid_trainer.estimate.activations import (
    Batch,
    Case,
    measured_cases,
    network_size,
    teacher_of,
)
from sid_trainer.estimate.conditions import condition_numbers
from sid_trainer.estimate.known import KNOWN
from sid_trainer.estimate.skeleton import Skeleton
from sid_trainer.estimate.visitors import decoding_visit, encoding_visit
from sid_trainer.memory.known import BATCHES, FILE, RESOLUTIONS
from sid_trainer.method.conditions import Shapes
from sid_trainer.telling.console import hide_progress_bars

ONE_PREDICTION, TWO_PREDICTIONS = 1.0, -4.5
"""Guidance scales that ask any network for so many predictions."""
_KINDS = {
    "fake": (ONE_PREDICTION, False),
    "fakeShared": (ONE_PREDICTION, True),
    "student": (ONE_PREDICTION, True),
    "studentGuided": (TWO_PREDICTIONS, True),
}
"""Guidance scale of all scores, and whether the roll-out is shared, of each table."""
_OF_NO_SIZE = ("sample_size", "timestep_scale", "guidance_embeds_scale")
"""Settings of a network that no tensor's size depends on, the picture being given."""
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Prompted:
    """Shapes of latents, by resolution, and of a prompt."""

    latents: Mapping[int, tuple[int, int, int]]
    shapes: Shapes


def measured(model: str, skeleton: Skeleton) -> dict[str, Any]:
    """All that is shipped of a released teacher's architecture."""
    with tempfile.TemporaryDirectory(prefix="sid-estimate-") as folder:
        config = _config(model)
        teacher = teacher_of(skeleton, config, torch.bfloat16, Path(folder))
        network, shapes = network_size(teacher.meta_network()), teacher.condition_shapes()
        latents = {side: teacher.latent_shape(side) for side in RESOLUTIONS}
    tokens = shapes["prompt_embeds"][0]
    encoders = {name: encoding_visit(skeleton, tokens, dtype) for name, dtype in _DTYPES.items()}
    decoders = {
        name: [decoding_visit(skeleton, latent, dtype) for latent in latents.values()]
        for name, dtype in _DTYPES.items()
    }
    return {
        "embedsGuidance": "guidance" in shapes,
        "parameters": sorted(Counter(network.parameters).items()),
        "buffers": network.buffers,
        "largestModule": network.largest_module,
        "encoders": {name: [visit.weights, visit.work] for name, visit in encoders.items()},
        "decoders": {
            name: [visits[0].weights, [visit.work for visit in visits]]
            for name, visits in decoders.items()
        },
        "prompt": condition_numbers(shapes),
        "latents": [torch.Size(latent).numel() for latent in latents.values()],
        "updates": _updates(model, skeleton, Prompted(latents, shapes)),
    }


def _updates(model: str, skeleton: Skeleton, of: Prompted) -> dict[str, Any]:
    """Tables of :class:`sid_trainer.memory.known.Architecture`."""
    result: dict[str, Any] = {}
    for name, checkpointing in (("checkpointed", True), ("whole", False)):
        # Without checkpointing all but nothing grows with the batch; blocks take seconds each.
        sizes = BATCHES if checkpointing else BATCHES[:1]
        cases = {
            f"{kind} {size} {side}": Case(
                "student" if "student" in kind else "fake",
                _config(model, scale, gradientCheckpointing=checkpointing, sharedRollOut=shared),
                Batch(size, of.latents[side], of.shapes, torch.bfloat16),
            )
            for kind, (scale, shared) in _KINDS.items()
            for size in sizes
            for side in RESOLUTIONS
        }
        found = measured_cases(skeleton, cases)
        result[name] = {
            kind: [
                [found[f"{kind} {size} {side}"] for side in RESOLUTIONS]
                if size in sizes
                else [size * found[f"{kind} {sizes[0]} {side}"] for side in RESOLUTIONS]
                for size in BATCHES
            ]
            for kind in _KINDS
        }
    return result


def _config(model: str, scale: float = 1.0, **training: Any) -> RunConfig:
    """A run whose three guidance scales are alike."""
    scales = dict.fromkeys(("fakeTrainingScale", "fakeScale", "teacherScale"), scale)
    return RunConfig.model_validate(
        {
            "teacher": {"model": model},
            "data": {"prompts": {"uri": "prompts.txt"}},
            "distillation": {"guidance": scales},
            "training": {"batchSize": 1, **training},
            "storage": {"uri": "s3://bucket"},
        }
    )


def architectures() -> dict[str, Any]:
    """The content of the file: one entry an architecture, and the models that have it."""
    entries: dict[str, Any] = {}
    names: dict[str, str] = {}
    for model in KNOWN:
        architecture = json.dumps(_architecture(KNOWN[model]), sort_keys=True)
        name = names.setdefault(architecture, model)
        if name not in entries:
            entries[name] = {"models": {}, **measured(model, KNOWN[model])}
        entries[name]["models"][model] = _resolution(model)
    return {"architectures": list(entries.values())}


def _architecture(skeleton: Skeleton) -> Any:
    components = {name: dict(config) for name, config in skeleton.components.items()}
    for name in _OF_NO_SIZE:
        components["transformer"].pop(name, None)
    return [skeleton.index, components, skeleton.token_limits]


def _resolution(model: str) -> int:
    with tempfile.TemporaryDirectory(prefix="sid-estimate-") as folder:
        teacher = teacher_of(KNOWN[model], _config(model), torch.bfloat16, Path(folder))
        return teacher.default_resolution


def main() -> None:
    """Write the file."""
    hide_progress_bars()
    lines = json.dumps(architectures(), indent=1)
    FILE.write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
