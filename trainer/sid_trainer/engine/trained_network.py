"""One network under ZeRO-3: updated, or only asked.

Rules this module keeps (each one bites silently):

* A network that is about to have its own backward pass is called through its engine
  (:attr:`TrainedNetwork.training`): only that advances DeepSpeed's micro-step, without which
  accumulated micro-batches overwrite one another.
* In the student's update teacher and fake score are called as bare modules, with the fake
  score's gradients off (:meth:`TrainedNetwork.frozen`): stray gradients would enter its next
  update.
* After an update the next forward's gathers come after it (:func:`.partition.order_gathers`).
* Weights are gathered ahead, see :mod:`sid_trainer.engine.gathering`.
* After such use gathered parameters are released: ZeRO-3 keeps those of modules whose inputs
  need no gradient. Not after an error: that is a collective, which the other ranks do not enter,
  and a gather that ran out of memory has left parameters that cannot be released.
* An update whose loss or gradient is not finite is skipped on every rank, see
  :mod:`sid_trainer.engine.skipping`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import deepspeed
import torch
from torch import Tensor, nn

from sid_trainer.checkpoint.state import below, snapshot
from sid_trainer.engine import partition
from sid_trainer.engine.blocks import largest_gather
from sid_trainer.engine.gather_sizes import with_gather_sizes
from sid_trainer.engine.gathering import gather_ahead
from sid_trainer.engine.shards import ADAM_MOMENTS, TrainedShards
from sid_trainer.engine.skipping import SkippedUpdates, exposed
from sid_trainer.method.learning_rate import LearningRate
from sid_trainer.teachers.base import Network


class TrainedNetwork:
    """A network that is updated: an engine with its weights and Adam.

    Args:
        name: of the network, in states and messages.
        module: the network, partitioned, its weights loaded.
        config: DeepSpeed configuration.
        rate: learning rate of each iteration.

    Attributes:
        skipped: its updates that were left out.
        losses_are_finite: whether this rank's losses since :meth:`begin` are; a scalar, read only
            after an update was skipped.
    """

    def __init__(
        self, name: str, module: nn.Module, config: dict[str, Any], rate: LearningRate
    ) -> None:
        self.name = name
        self.skipped = SkippedUpdates()
        self.losses_are_finite = torch.tensor(True)
        self._rate = rate
        with partition.gradients_by_parameter():
            self._engine = _engine(module, config, model_parameters=list(module.parameters()))
        self.shards = TrainedShards(self._engine)

    def begin(self, iteration: int) -> None:
        """Set what depends on the iteration before which ``iteration`` were finished."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = self._rate.of(iteration)
        self.losses_are_finite = torch.ones((), dtype=torch.bool, device=self._engine.device)

    @property
    def module(self) -> nn.Module:
        """The bare network."""
        module: nn.Module = self._engine.module
        return module

    @property
    def training(self) -> Network:
        """The network for forwards that belong to its own update, roll-outs included."""
        engine: Network = self._engine
        return engine

    @contextmanager
    def frozen(self) -> Iterator[Network]:
        """The network for a forward through which gradient flows to the input only."""
        self.module.requires_grad_(False)
        yield self.module
        self.module.requires_grad_(True)
        partition.release_leftovers(self._engine.optimizer)

    def accumulate(self, loss: Tensor) -> None:
        """Backward pass of a micro-batch; the last one of an iteration updates the weights.

        The update is skipped, on all ranks alike, when a loss or gradient of any is not finite.
        """
        last = self._engine.is_gradient_accumulation_boundary()
        self.losses_are_finite = self.losses_are_finite & torch.isfinite(loss.detach())
        self._engine.backward(exposed(loss))
        self._engine.step()
        if last:
            partition.order_gathers(self._engine.optimizer)
            self.skipped.note(self._engine.was_step_applied())

    @property
    def gradient_norm(self) -> Tensor:
        """Norm of the last update's gradient over all ranks, before clipping, a scalar."""
        return torch.as_tensor(self._engine.get_global_grad_norm(), dtype=torch.float32)

    def capture(self) -> dict[str, Tensor]:
        """This rank's shards on the CPU, under the names that a checkpoint has for them."""
        parts = {"weight": self.shards.weights, **self.shards.moments}
        return {
            f"{self.name}/{part}/{parameter}": snapshot(shard)
            for part, shards in parts.items()
            for parameter, shard in shards.items()
        }

    def restore(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Go on from :meth:`capture` after ``steps`` optimizer steps."""
        moments = {moment: below(tensors, f"{self.name}/{moment}/") for moment in ADAM_MOMENTS}
        self.shards.restore(below(tensors, f"{self.name}/weight/"), moments, steps)


class FrozenNetwork:
    """The teacher: partitioned like the others, never updated."""

    def __init__(self, module: nn.Module, config: dict[str, Any]) -> None:
        module.requires_grad_(False)
        self._engine = _engine(module, config)

    @contextmanager
    def frozen(self) -> Iterator[Network]:
        """The network for a forward through which gradient flows to the input only."""
        yield self._engine.module
        partition.release_leftovers(self._engine.optimizer)


def _engine(module: nn.Module, config: dict[str, Any], **given: Any) -> Any:
    """DeepSpeed's engine of a partitioned network, which gathers ahead."""
    largest = largest_gather(module, lambda parameter: int(parameter.ds_numel))
    engine, *_ = deepspeed.initialize(
        model=module, config=with_gather_sizes(config, largest), **given
    )
    gather_ahead(engine.optimizer)
    return engine
