"""It really distils: the trainer's own student of the digits teacher passes the gate.

The settings are those of ``examples/distill-digits.yaml``, in one process and without a cluster.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sid_trainer.config import TrainerSections
from sid_trainer.digits.cache import cached_teacher

EXAMPLES = Path(__file__).parents[3] / "examples"
TRAINING_SECONDS, JUDGING_SECONDS = 2400, 900


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished local run of the example."""
    folder = tmp_path_factory.mktemp("digits-run")
    spec = yaml.safe_load((EXAMPLES / "distill-digits.yaml").read_text())["spec"]
    shared = {field.alias for field in TrainerSections.model_fields.values()}
    config = {key: value for key, value in spec.items() if key in shared} | {
        "name": "digits",
        "teacher": {"model": str(cached_teacher())},
        "data": {"prompts": {"uri": str(EXAMPLES / "digits-prompts.txt")}},
        "storage": {"uri": folder.as_uri()},
        "checkpoint": {"everyIterations": 250, "keepLast": 1},
        "launch": {"device": "cpu", "progressPort": 0},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    _sid_trainer("train", "--config", str(folder / "config.yaml"), timeout=TRAINING_SECONDS)
    return folder


def test_the_student_passes_the_gate(run: Path) -> None:
    verdict = run / "verdict.json"
    output = _sid_trainer(
        *("digits", "evaluate", "--teacher", str(cached_teacher())),
        *("--student", str(run / "student"), "--json", str(verdict)),
        timeout=JUDGING_SECONDS,
    )
    assert json.loads(verdict.read_text())["passed"], output


def _sid_trainer(*arguments: str, timeout: float) -> str:
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
    if finished.returncode:
        pytest.fail(f"exit code {finished.returncode}\n{finished.stdout[-8000:]}")
    return finished.stdout
