"""It really distils: students of digits teachers pass the gate, whatever the architecture.

The settings are those of ``examples/distill-digits.yaml``, in one process and without a cluster.
Minutes each, so only with ``-m gate`` (``make test-gates``). The SD3 one is also distilled by
``tests/cluster/test_end_to_end.py``, on a cluster.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sid_trainer.config import TrainerSections
from sid_trainer.digits.cache import cached_teacher
from sid_trainer.digits.teacher import recipe_of

pytestmark = pytest.mark.gate

EXAMPLES = Path(__file__).parents[3] / "examples"
TRAINING_SECONDS, JUDGING_SECONDS = 3600, 1200
RESOLUTION = {"sd3": 8, "sana": 32, "flux": 8}
DATA_AIDED_ITERATIONS = 200


def distil(folder: Path, family: str, changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Run the example on a teacher with some settings changed; what the judge wrote."""
    spec = yaml.safe_load((EXAMPLES / "distill-digits.yaml").read_text())["spec"]
    shared = {field.alias for field in TrainerSections.model_fields.values()}
    teacher = cached_teacher(recipe_of(family))
    prompts = {"uri": str(EXAMPLES / "digits-prompts.txt")}
    config = {key: value for key, value in spec.items() if key in shared} | {
        "name": "digits",
        "teacher": {"model": str(teacher)},
        "data": {"prompts": prompts, "resolution": RESOLUTION[family]},
        "storage": {"uri": folder.as_uri()},
        "checkpoint": {"everyIterations": 250, "keepLast": 1},
        "launch": {"device": "cpu", "progressPort": 0},
    }
    for section, values in changes.items():
        config[section] = {**config.get(section, {}), **values}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    _sid_trainer("train", "--config", str(folder / "config.yaml"), timeout=TRAINING_SECONDS)
    judged = ("digits", "evaluate", "--teacher", str(teacher), "--student", str(folder / "student"))
    # Exit code 1 is the gate's verdict, which the caller tells.
    output = _sid_trainer(
        *judged, "--json", str(folder / "verdict.json"), timeout=JUDGING_SECONDS, codes=(0, 1)
    )
    print(f"\n{family} {changes or ''}\n{output}")
    verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    return verdict


@pytest.mark.parametrize("family", RESOLUTION)
def test_the_student_passes_the_gate(family: str, tmp_path: Path) -> None:
    assert distil(tmp_path, family, {})["passed"]


def test_data_aided_training_goes_on_from_a_student_without(tmp_path: Path) -> None:
    """A student of prompts alone, then with the digits themselves: it still passes the gate."""
    images, alone, aided = (tmp_path / name for name in ("images", "alone", "aided"))
    _sid_trainer("digits", "images", "--output", str(images), timeout=JUDGING_SECONDS)
    alone.mkdir()
    aided.mkdir()
    assert distil(alone, "sd3", {})["passed"]
    changes = {
        "student": {"initFrom": str(alone / "student")},
        "distillation": {
            "adversarial": {"studentStartsAfterImages": 1280, "startsAfterImages": 2560}
        },
        "data": {"images": {"uri": str(images)}},
        "training": {"iterations": DATA_AIDED_ITERATIONS},
    }
    assert distil(aided, "sd3", changes)["passed"]


def _sid_trainer(*arguments: str, timeout: float, codes: tuple[int, ...] = (0,)) -> str:
    """Run the command line and return what it printed; fail with its output when it fails."""
    finished = subprocess.run(
        [sys.executable, "-m", "sid_trainer", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    if finished.returncode not in codes:
        pytest.fail(f"exit code {finished.returncode}\n{finished.stdout[-8000:]}")
    return finished.stdout
