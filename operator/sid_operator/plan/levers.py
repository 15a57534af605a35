"""What a user can change so that a run fits: each change is computed, not guessed.

Rule: only what keeps the method is offered; the trained student stays what was asked for. All but
the precision can be changed in place (:mod:`sid_trainer.config.binding`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sid_trainer.config import RunConfig
from sid_trainer.config.training import DEFAULT_RATES
from sid_trainer.memory import known_need

MOST_NODES = 64
_PURE_RATE = DEFAULT_RATES["pure-bf16"]
"""Named, because the resource may have the rate of another precision."""


@dataclass(frozen=True, slots=True)
class Way:
    """A change that is enough alone.

    Attributes:
        setting: Field and value.
        need: Bytes that a GPU needs then.
        in_place: The resource may be changed so while it is there.
    """

    setting: str
    need: int
    in_place: bool


def enough(config: RunConfig, model: str, capacity: int) -> list[Way]:
    """The changes of a run after which GPUs of ``capacity`` bytes are enough, each alone.

    Args:
        config: The run, which does not fit.
        model: Released model whose architecture the teacher has.
        capacity: Bytes of a GPU.
    """
    nodes = (_way(one, model, capacity) for one in _more_nodes(config))
    fewest = next((way for way in nodes if way is not None), None)
    others = [_way(one, model, capacity) for one in _settings(config)]
    return [way for way in (fewest, *others) if way is not None]


@dataclass(frozen=True, slots=True)
class _Change:
    setting: str
    config: RunConfig
    in_place: bool = True


def _way(change: _Change, model: str, capacity: int) -> Way | None:
    need = known_need(change.config, model)
    return Way(change.setting, need.per_gpu, change.in_place) if need.fits(capacity) else None


def _more_nodes(config: RunConfig) -> Iterator[_Change]:
    """Twice the nodes, and so on, as far as the batch can be shared out."""
    launch, batch = config.launch, config.training.batch_size
    nodes = 2 * launch.nodes
    while nodes <= MOST_NODES and batch % (nodes * launch.processes_per_node) == 0:
        changed = _with(config, "launch", nodes=nodes)
        share = batch // changed.launch.world_size
        if share % changed.micro_batch_size == 0:
            yield _Change(f"workers.nodes {nodes}", changed)
        nodes *= 2


def _settings(config: RunConfig) -> Iterator[_Change]:
    training = config.training
    if config.micro_batch_size > 1:
        changed = _with(config, "training", micro_batch_size=1)
        yield _Change("training.microBatchSize 1", changed)
    if not training.gradient_checkpointing:
        changed = _with(config, "training", gradient_checkpointing=True)
        yield _Change("training.gradientCheckpointing true", changed)
    if config.deepspeed.offload == "none" and training.precision != "pure-bf16":
        changed = _with(config, "deepspeed", offload="optimizer")
        yield _Change("deepspeed.offload optimizer", changed)
        yield _pure(config)


def _pure(config: RunConfig) -> _Change:
    """Everything in bf16, with rates that are not lost in rounding."""
    training = config.training
    rates = {"learning_rate": max(training.student_rate, _PURE_RATE)}
    setting = f"training.precision pure-bf16 with training.learningRate {rates['learning_rate']:g}"
    if training.fake_learning_rate is not None and training.fake_learning_rate < _PURE_RATE:
        rates["fake_learning_rate"] = _PURE_RATE
        setting += f" and training.fakeLearningRate {_PURE_RATE:g}"
    changed = _with(config, "training", precision="pure-bf16", **rates)
    return _Change(setting, changed, in_place=False)


def _with(config: RunConfig, section: str, **changes: object) -> RunConfig:
    """The run with settings of a section changed; values are right by construction."""
    changed = getattr(config, section).model_copy(update=changes)
    return config.model_copy(update={section: changed})
