"""The need of a run whose teacher is a released one, or of the same architecture as one.

Rules this module keeps:

* It computes from what :mod:`sid_trainer.estimate.measure` measured, and agrees with the estimate
  within some per cent (tests), for every setting that a run may have.
* What it does not know it does not guess: :func:`released_model` answers None.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sid_trainer.config import RunConfig
from sid_trainer.memory.accounts import Account, GpuNeed
from sid_trainer.memory.host import HostSizes, node_need
from sid_trainer.memory.need import Sizes, Visit, gpu_need
from sid_trainer.memory.sharding import NetworkSize
from sid_trainer.method.guidance_scales import guidance_scales

FILE = Path(__file__).with_name("architectures.json")
BATCHES = (1, 4)
RESOLUTIONS = (512, 1024)
"""Where the updates were measured: samples, and height and width in pixels."""
_FP32 = 2
"""Times the bytes of bf16."""
Table = Sequence[Sequence[int]]
"""Bytes at each of :data:`BATCHES`, a row each, and :data:`RESOLUTIONS`."""


@dataclass(frozen=True)
class Architecture:
    """What was measured of one.

    Attributes:
        models: released models that have it, with their own resolution.
        embeds_guidance: its network takes a guidance scale as an input.
        network: its size.
        encoders: its text encoders, by precision.
        decoders: bytes of the autoencoder's weights, and of its work at each resolution, by
            precision.
        prompt: numbers of an encoded prompt.
        latents: numbers of the latents at each resolution.
        updates: tables by ``checkpointed`` or ``whole``, and by what is updated: ``fake``,
            ``fakeShared`` (the student's graph waits), ``student``, and ``studentGuided`` (both
            scores make two predictions, not one).
    """

    models: Mapping[str, int]
    embeds_guidance: bool
    network: NetworkSize
    encoders: Mapping[str, Visit]
    decoders: Mapping[str, tuple[int, Sequence[int]]]
    prompt: int
    latents: Sequence[int]
    updates: Mapping[str, Mapping[str, Table]]

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Architecture:
        """Read an entry of the file."""
        return cls(
            models=entry["models"],
            embeds_guidance=entry["embedsGuidance"],
            network=NetworkSize(
                parameters=[numel for numel, count in entry["parameters"] for _ in range(count)],
                buffers=entry["buffers"],
                largest_module=entry["largestModule"],
            ),
            encoders={name: Visit(*visit) for name, visit in entry["encoders"].items()},
            decoders=entry["decoders"],
            prompt=entry["prompt"],
            latents=entry["latents"],
            updates=entry["updates"],
        )


@functools.cache
def _architectures() -> Mapping[str, Architecture]:
    """By released model."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    read = [Architecture.read(entry) for entry in content["architectures"]]
    return {model: one for one in read for model in one.models}


def released() -> tuple[str, ...]:
    """The released models whose need is known, by their id on the Hugging Face Hub."""
    return tuple(_architectures())


def released_model(reference: str) -> str | None:
    """The released model that a teacher is by its name, however it is stored; None for others.

    >>> released_model("s3://models/mirror/FLUX.1-dev/")
    'black-forest-labs/FLUX.1-dev'
    """
    if reference in _architectures():
        return reference
    name = _last(reference)
    return next((model for model in _architectures() if _last(model) == name), None)


def known_need(config: RunConfig, model: str) -> GpuNeed:
    """What a run needs on each GPU, its teacher being of the architecture of a released model.

    Raises:
        KeyError: the model is none of :func:`released`.
        TrainerError: ``InvalidConfiguration``, by ``deepspeed.config``.
    """
    architecture = _architectures()[model]
    return gpu_need(config, sizes_of(config, architecture, _side(config, architecture, model)))


def known_node_need(config: RunConfig, model: str) -> Account:
    """Host memory that such a run needs on the node that needs most.

    Raises:
        KeyError: the model is none of :func:`released`.
        TrainerError: ``InvalidConfiguration``, by ``deepspeed.config``.
    """
    architecture = _architectures()[model]
    side = _side(config, architecture, model)
    return node_need(config, host_sizes_of(config, architecture, side))


def sizes_of(config: RunConfig, of: Architecture, side: int) -> Sizes:
    """What the need of a run at a resolution is computed from."""
    precision = _precision(config)
    times = _FP32 if precision == "fp32" else 1
    weights, work = of.decoders[precision]
    fake, student = _updates(config, of, side)
    return Sizes(
        network=of.network,
        fake=times * fake,
        student=times * student,
        encoders=of.encoders[precision],
        decoder=Visit(weights, int(_between(work, _area(side)))),
    )


def host_sizes_of(config: RunConfig, of: Architecture, side: int) -> HostSizes:
    """What a node's need is computed from, at a resolution."""
    precision = _precision(config)
    weights, _ = of.decoders[precision]
    return HostSizes(
        network=of.network,
        encoders=of.encoders[precision].weights,
        autoencoder=weights,
        prompt=of.prompt,
        latent=int(_between(of.latents, _area(side))),
    )


def _precision(config: RunConfig) -> str:
    return "fp32" if config.training.precision == "fp32" else "bf16"


def _side(config: RunConfig, of: Architecture, model: str) -> int:
    """Height and width of the pictures, in pixels."""
    return config.data.resolution or of.models[model]


def _updates(config: RunConfig, of: Architecture, side: int) -> tuple[int, int]:
    """Bytes in bf16 of the fake score's and the student's update.

    Two predictions take what one of twice the batch takes; real samples are one more.
    """
    tables = of.updates["checkpointed" if config.training.gradient_checkpointing else "whole"]

    def at(kind: str, samples: int) -> float:
        return _at(tables[kind], samples, side)

    batch = config.micro_batch_size
    kappas = guidance_scales(config.distillation.guidance)
    training, fake, teacher = (
        _predictions(kappa, embedded=of.embeds_guidance)
        for kappa in (kappas.fake_training, kappas.fake, kappas.teacher)
    )
    seen = batch * (training + (1 if config.distillation.adversarial else 0))
    waiting = at("fakeShared", batch) - at("fake", batch) if config.graph_waits else 0.0
    guided = (fake + teacher - 2) / 2
    student = at("student", batch) + guided * (at("studentGuided", batch) - at("student", batch))
    return int(at("fake", seen) + waiting), int(student)


def _predictions(kappa: float, *, embedded: bool) -> int:
    """Predictions that a guided velocity is made of (:func:`sid_trainer.method.guidance`)."""
    return 1 if kappa in (0.0, 1.0) or (embedded and kappa > 0) else 2


def _at(table: Table, batch: int, side: int) -> float:
    """A table's value at a batch size and resolution; it grows evenly with batch and area."""
    by_batch = [_between(row, _area(side)) for row in table]
    share = (batch - BATCHES[0]) / (BATCHES[1] - BATCHES[0])
    return by_batch[0] + share * (by_batch[1] - by_batch[0])


def _between(values: Sequence[int], share: float) -> float:
    return values[0] + share * (values[1] - values[0])


def _area(side: int) -> float:
    """Where the area of a picture lies between those that were measured."""
    low, high = (one * one for one in RESOLUTIONS)
    return (side * side - low) / (high - low)


def _last(reference: str) -> str:
    return reference.rstrip("/").rpartition("/")[2].lower()
