"""Whole runs of several numbers of ranks, one after another; what each rank restored is written.

Ranks are forked after everything has been imported and a pipeline been loaded, which takes most of
a tiny rank's time and memory.

Argument: a file with the ``teacher`` and ``runs``, a list of objects with ``config`` (file of the
run), ``ranks``, ``port`` (where they meet), ``output`` (folder for the log, the restored state and
the prompts of each rank), and for a run that is to go on from another's checkpoints, ``begunFrom``
and its ``folder``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import StableDiffusion3Pipeline
from sid_ranks import quiet

from sid_trainer.checkpoint.state import RankState
from sid_trainer.config import RunConfig
from sid_trainer.data.encoding import EncodedPrompts
from sid_trainer.engine.networks import Networks
from sid_trainer.method.conditions import Condition
from sid_trainer.process.ending import end_with
from sid_trainer.telling.console import set_up_logging
from sid_trainer.training.run import train


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    StableDiffusion3Pipeline.from_pretrained(plan["teacher"])
    for run in plan["runs"]:
        if "begunFrom" in run:
            copy_with_damage(Path(run["begunFrom"]["run"]), Path(run["folder"]), run["begunFrom"])
        on_ranks(Path(run["config"]), run["ranks"], Path(run["output"]), run["port"])


def copy_with_damage(source: Path, target: Path, facts: dict[str, Any]) -> None:
    """The folder as it was one checkpoint after ``saved`` iterations, this last one damaged."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("student", "report.html"))
    for folder in (target / "checkpoints").iterdir():
        if int(folder.name.removeprefix("iter-")) > facts["saved"] + 1:
            shutil.rmtree(folder)
    (part,) = target.glob(f"checkpoints/iter-{facts['saved'] + 1:08d}/*/rank-00002.safetensors")
    data = bytearray(part.read_bytes())
    data[-5] ^= 1
    part.write_bytes(data)


def on_ranks(config: Path, world: int, output: Path, port: int) -> None:
    children = [forked(config, rank, world, port, output) for rank in range(world)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        sys.exit(f"exit codes {codes}: see {output}")


def forked(config: Path, rank: int, world: int, port: int, output: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        log = os.open(output / f"rank{rank}.log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in place.items()}
        set_up_logging(rank, world)
        watch(output, rank)
        train(RunConfig.model_validate(yaml.safe_load(config.read_text())))
        code = 0
    except BaseException:  # noqa: BLE001 - told in the log, whatever it is
        traceback.print_exc()
    finally:
        end_with(code)


def watch(output: Path, rank: int) -> None:
    """Write down what the networks hold after they were restored, and the prompts as they come."""
    restore, condition = Networks.restore, EncodedPrompts.condition

    def restored(networks: Networks, state: RankState) -> None:
        restore(networks, state)
        torch.save(networks.capture().tensors, output / f"restored-{rank}.pt")

    def asked(prompts: EncodedPrompts, iteration: int) -> Condition:
        texts = prompts._wanted(range(iteration, iteration + 1))
        with (output / f"prompts-{rank}.jsonl").open("a") as file:
            file.write(json.dumps([iteration, texts]) + "\n")
        return condition(prompts, iteration)

    classes: Any = (Networks, EncodedPrompts)
    classes[0].restore, classes[1].condition = restored, asked


if __name__ == "__main__":
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    quiet()
    main()
