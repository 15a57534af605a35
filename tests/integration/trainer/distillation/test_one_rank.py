"""On one rank, in this process, an iteration is that of the equations.

The quick form of ``test_gradients.py``: quick enough to be run for every deliberate mistake
(``make test-mutants``).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
from deepspeed.runtime.zero import partition_parameters
from gradients_on_ranks import LOSSES, gradients
from safetensors.torch import load_file, save_file
from sid_ranks import Rank, joined, run_config
from test_gradients import CASES, gradients_of, reference_of, relative_error
from torch import Tensor

from sid_trainer.contract import TrainerError
from sid_trainer.engine.distributed import COLLECTIVE_TIMEOUT, Place, leave
from sid_trainer.engine.networks import Networks, build_networks
from sid_trainer.teachers import open_teacher
from sid_trainer.teachers.base import Network

ITERATIONS = {"guided": 2, "micro-batches": 2, "data-aided": 3}
"""Enough for the updates to meet one another, and for images to have joined."""
NONE_STAYS_WHOLE = {"config": {"zero_optimization": {"stage3_param_persistence_threshold": 0}}}


@pytest.fixture(scope="module")
def alone() -> Iterator[Place]:
    """This process as the only one of a run; the process is as before afterwards."""
    before, linear = dict(os.environ), torch.nn.functional.linear
    tf32 = torch.backends.cudnn.allow_tf32
    os.environ.pop("RANK", None)
    yield joined(world_size=1)
    leave()
    torch.backends.cudnn.allow_tf32 = tf32
    torch.nn.functional.linear = linear  # ZeRO-3 replaces it for the whole process
    os.environ.clear()
    os.environ.update(before)


def test_fp32_is_computed_in_fp32_on_gpus_too(alone: Place) -> None:
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_the_watchdog_speaks_before_any_collective_gives_up(alone: Place, tiny_sd3: Path) -> None:
    """Also before those that DeepSpeed's engines make in groups of their own."""
    config = run_config(str(tiny_sd3), world_size=1)
    network = Rank(config, alone).networks.student
    world = torch.distributed.distributed_c10d._world
    patience = {group: group._get_backend(alone.device).options._timeout for group in world.pg_map}
    assert network._engine.data_parallel_group in patience
    longest = timedelta(seconds=config.training.watchdog_seconds)
    assert set(patience.values()) == {COLLECTIVE_TIMEOUT + longest}


class Stream:
    """Stands for the GPU stream that ZeRO-3 gathers on; there is none on a CPU."""

    def __init__(self, written: Callable[[], Tensor]) -> None:
        self._written = written
        self.ahead: list[Tensor] = []

    def wait_stream(self, _: object) -> None:
        """Note what the stream that is waited for has written by now."""
        self.ahead.append(self._written().clone())


def test_gathers_come_after_what_was_written(
    alone: Place, tiny_sd3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the optimizer's step and of the average that is shown, also with no parameter whole."""
    rank = Rank(run_config(str(tiny_sd3), world_size=1, deepspeed=NONE_STAYS_WHOLE), alone)
    student = rank.networks.student

    def shard() -> Tensor:
        shard: Tensor = student.module.get_parameter("proj_out.weight").ds_tensor.data
        return shard

    stream = Stream(shard)
    offload = student._engine.optimizer.parameter_offload
    name = "_DeepSpeedZeRoOffload__allgather_stream"
    assert getattr(offload, name) is None
    monkeypatch.setattr(offload, name, stream)
    before = shard().clone()
    rank.iterate(0)
    (stepped,) = stream.ahead
    assert not torch.equal(stepped, before)
    assert torch.equal(stepped, shard())
    with rank.networks.averaged_student():
        assert torch.equal(stream.ahead[-1], shard())
        assert not torch.equal(shard(), stepped)
    assert torch.equal(stream.ahead[-1], stepped)
    assert len(stream.ahead) == 3


def out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")


def run_out_of_memory(
    rank: Rank, use: AbstractContextManager[Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ask a network for velocities, once with success and once without room for its weights."""
    shape = (len(rank.batch[0].samples), *rank.distiller.latent_shape)
    x = torch.zeros(shape, requires_grad=True)  # embeddings of time and text stay whole after it
    ask = partial(rank.distiller.teacher.velocity, x=x, sigma=torch.full(shape[:1], 0.5))
    with use as network:
        ask(network, condition=rank.batch[0].condition)
        monkeypatch.setattr(partition_parameters, "NoGatherHandle", out_of_memory)
        monkeypatch.setattr(partition_parameters, "NoGatherCoalescedHandle", out_of_memory)
        ask(network, condition=rank.batch[0].condition)


USES: dict[str, Callable[[Networks], AbstractContextManager[Network]]] = {
    "teacher": lambda networks: networks.teacher.frozen(),
    "fake score": lambda networks: networks.fake.frozen(),
    "averaged student": lambda networks: networks.averaged_student(),
}


@pytest.mark.parametrize("use", USES)
def test_a_gather_without_memory_is_told_and_nothing_is_asked_of_other_ranks(
    use: str, alone: Place, tiny_sd3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZeRO-3 marks what it gathers before it makes room for it: a clean-up would fail on that."""
    rank = Rank(run_config(str(tiny_sd3), world_size=1, deepspeed=NONE_STAYS_WHOLE), alone)
    with pytest.raises(torch.OutOfMemoryError):
        run_out_of_memory(rank, USES[use](rank.networks), monkeypatch)


@pytest.mark.parametrize("case", ITERATIONS)
def test_gradients_are_those_of_the_equations(case: str, alone: Place, tiny_sd3: Path) -> None:
    rank = Rank(run_config(str(tiny_sd3), world_size=1, **CASES[case]), alone)
    reference = reference_of(case, tiny_sd3)
    networks = rank.networks
    for iteration in range(ITERATIONS[case]):
        metrics = rank.iterate(iteration).metrics
        reference.iterate(iteration)
        for ours, theirs in (
            (gradients(networks.fake.shards), reference.fake),
            (gradients(networks.student.shards), reference.student),
        ):
            if ours:
                assert relative_error(ours, gradients_of(theirs)) < 1e-5
        losses = torch.tensor([float(metrics[name]) for name in LOSSES if name in metrics])
        expected = torch.tensor(reference.losses[-1])
        torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-6)
    average = dict(reference.average.named_parameters())
    ours = networks.student_state_dict(ema=True)
    assert ours is not None
    assert relative_error({name: ours[name] for name in average}, average) < 1e-5


def test_a_first_student_of_another_architecture_is_refused(
    alone: Place, tiny_sd3: Path, tmp_path: Path
) -> None:
    """By its settings, and by tensors that the teacher has not."""
    config = run_config(str(tiny_sd3), world_size=1, student={"initFrom": "owner/student"})
    teacher = open_teacher(config.teacher, tiny_sd3, alone.device, torch.float32)
    folder = tmp_path / "transformer"
    shutil.copytree(tiny_sd3 / "transformer", folder)
    settings = teacher.network_config | {"qk_norm": None}
    (folder / "config.json").write_text(json.dumps(settings))
    named = rf"^student\.initFrom owner/student: .*teacher\.model {tiny_sd3}: qk_norm"
    with pytest.raises(TrainerError, match=named):
        build_networks(config, teacher, tmp_path)
    shutil.copy(tiny_sd3 / "transformer" / "config.json", folder)
    file = folder / "diffusion_pytorch_model.safetensors"
    save_file(load_file(file) | {"unknown.weight": torch.ones(3)}, file)
    named = r"^student\.initFrom: .*teacher's architecture: unknown\.weight is no part of it"
    with pytest.raises(TrainerError, match=named):
        build_networks(config, teacher, tmp_path)
