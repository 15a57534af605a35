"""A run of four ranks goes on with two, one and eight: real processes, from real checkpoints.

The state is the same bit for bit, the prompts go on where they were, and in the end the generators
give the same outputs up to rounding as that of the run that was never interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import SD3Transformer2DModel

from sid_trainer.checkpoint.shard import read_shard
from tests.loopback import free_port

RANKS = {"four": 4, "two": 2, "one": 1, "eight": 8}
OTHERS = ["two", "one", pytest.param("eight", marks=pytest.mark.campaign)]
"""Eight ranks take as long as all others together."""
SAVED, END, BATCH = 2, 4, 8
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
PROMPTS = [f"{first} {second}" for first in WORDS for second in WORDS[:4]]
DEADLINE_SECONDS = 900  # a guard against hangs; a loaded machine may be slow


def run_config(folder: Path, teacher: Path, prompts: Path, ranks: int) -> dict[str, Any]:
    return {
        "name": "ranks",
        "teacher": {"model": str(teacher)},
        "data": {"prompts": {"uri": str(prompts)}},
        "distillation": {"guidance": {"scale": 1.5}},
        "training": {
            "iterations": END,
            "batchSize": BATCH,
            "learningRate": 1e-3,
            "precision": "fp32",
            "gradientCheckpointing": False,
            "ema": {"halfLifeImages": 16},
        },
        "deepspeed": {"config": {"zero_optimization": {"stage3_param_persistence_threshold": 0}}},
        "evaluation": {"everyIterations": 100, "prompts": ["one"], "teacher": {"steps": 0}},
        "checkpoint": {"everyIterations": 1, "keepLast": 9},
        "storage": {"uri": folder.as_uri()},
        "launch": {"device": "cpu", "processesPerNode": ranks, "progressPort": 0},
    }


class Runs:
    """Runs in a folder, made one after another by one process that forks their ranks."""

    def __init__(self, folder: Path, teacher: Path) -> None:
        self.folder, self.teacher = folder, teacher
        self.prompts = folder / "prompts.txt"
        self.prompts.write_text("\n".join(PROMPTS))

    def make(self, *names: str) -> None:
        """Make runs one after another; those but the first go on from its checkpoints."""
        runs = [self._planned(name) for name in names]
        file = self.folder / "plan.json"
        file.write_text(json.dumps({"teacher": str(self.teacher), "runs": runs}))
        self._fork(file)

    def need(self, name: str) -> None:
        """Make a run that is not there yet."""
        if not (self.folder / name).exists():
            self.make(name)

    def _planned(self, name: str) -> dict[str, Any]:
        output = self.folder / f"{name}-ranks"
        output.mkdir()
        file = self.folder / f"{name}.yaml"
        config = run_config(self.folder / name, self.teacher, self.prompts, RANKS[name])
        file.write_text(yaml.safe_dump(config))
        planned = {
            "config": str(file),
            "ranks": RANKS[name],
            "port": free_port(),
            "output": str(output),
        }
        if name == "four":
            return planned
        begun = {"run": str(self.folder / "four"), "saved": SAVED}
        return planned | {"begunFrom": begun, "folder": str(self.folder / name)}

    def _fork(self, plan: Path) -> None:
        script = Path(__file__).parent / "forked_runs.py"
        environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
        process = subprocess.Popen(
            [sys.executable, str(script), str(plan)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, errors = process.communicate(timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if process.returncode:
            logs = "\n".join(log.read_text()[-3000:] for log in self.folder.glob("*/rank*.log"))
            pytest.fail(f"{errors[-2000:]}\n{logs}")

    def parts(self, iteration: int) -> list[dict[str, torch.Tensor]]:
        """Each rank's tensors in the first run's checkpoint."""
        folder = self.folder / "four" / "checkpoints" / f"iter-{iteration:08d}"
        files = sorted(folder.glob("attempt-*/rank-*.safetensors"))
        return [read_shard(bytearray(file.read_bytes())).tensors for file in files]

    def restored(self, name: str, ranks: int) -> list[dict[str, torch.Tensor]]:
        """Each rank's tensors after it went on."""
        output = self.folder / f"{name}-ranks"
        return [torch.load(output / f"restored-{rank}.pt") for rank in range(ranks)]

    def asked(self, name: str, ranks: int) -> dict[int, list[str]]:
        """The prompts of the global batch of each iteration."""
        found: dict[int, list[str]] = {}
        for rank in range(ranks):
            file = self.folder / f"{name}-ranks" / f"prompts-{rank}.jsonl"
            for line in file.read_text().splitlines():
                iteration, texts = json.loads(line)
                found.setdefault(iteration, []).extend(texts)
        return found


@pytest.fixture(scope="module")
def runs(tiny_sd3: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    runs = Runs(tmp_path_factory.mktemp("ranks"), tiny_sd3)
    runs.make("four", "two", "one")
    return runs


@pytest.mark.parametrize("name", OTHERS)
def test_it_goes_back_to_the_newest_whole_checkpoint_and_says_so(name: str, runs: Runs) -> None:
    runs.need(name)
    log = (runs.folder / f"{name}-ranks" / "rank0.log").read_text()
    assert f"it went back to iteration {SAVED}: The checkpoint of iteration {SAVED + 1}" in log
    assert "rank-00002.safetensors does not have the checksum" in log


@pytest.mark.parametrize("name", OTHERS)
def test_the_state_is_the_same_bit_for_bit(name: str, runs: Runs) -> None:
    runs.need(name)
    old, new = runs.parts(SAVED), runs.restored(name, RANKS[name])
    assert len(old) == 4
    for tensor in old[0]:
        ours, theirs = (torch.cat([part[tensor] for part in parts]) for parts in (new, old))
        length = min(len(ours), len(theirs))
        assert torch.equal(ours[:length], theirs[:length]), tensor
        assert not ours[length:].any(), "padding"
        assert not theirs[length:].any(), "padding"


@pytest.mark.parametrize("name", OTHERS)
def test_the_prompts_go_on_and_none_comes_twice(name: str, runs: Runs) -> None:
    runs.need(name)
    whole, resumed = runs.asked("four", 4), runs.asked(name, RANKS[name])
    assert sorted(whole) == list(range(END))
    assert sorted(resumed) == list(range(SAVED, END))
    assert resumed == {iteration: whole[iteration] for iteration in resumed}
    seen = [text for i in range(END) for text in (resumed if i >= SAVED else whole)[i]]
    assert sorted(seen) == sorted(PROMPTS)


@pytest.mark.parametrize("name", OTHERS)
def test_the_generator_gives_the_same_outputs(name: str, runs: Runs) -> None:
    runs.need(name)
    ours, theirs = (outputs(runs.folder / run / "student") for run in (name, "four"))
    before = outputs(runs.teacher)
    moved = (theirs - before).norm()
    assert (ours - theirs).norm() < 1e-4 * moved


@torch.no_grad()
def outputs(pipeline: Path) -> torch.Tensor:
    """Velocities ``[8, 4, 8, 8]`` of a student's network at fixed inputs."""
    network = SD3Transformer2DModel.from_pretrained(pipeline, subfolder="transformer")
    generator = torch.Generator().manual_seed(9)
    config = network.config
    velocity: torch.Tensor = network(
        hidden_states=torch.randn(8, 4, 8, 8, generator=generator),
        timestep=torch.linspace(1000.0, 125.0, 8),
        encoder_hidden_states=torch.randn(8, 5, config.joint_attention_dim, generator=generator),
        pooled_projections=torch.randn(8, config.pooled_projection_dim, generator=generator),
        return_dict=False,
    )[0]
    return velocity
