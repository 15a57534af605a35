"""Examples and documentation: every resource fits its GPUs, and the tables are what is computed."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from sid_operator.api.render import run_config
from sid_operator.api.spec import SiDDistillationSpec
from sid_trainer.commands import estimate as command
from sid_trainer.config import RunConfig, TrainerSections
from sid_trainer.estimate import Estimate, estimate_run, find_skeleton
from sid_trainer.estimate.__main__ import with_tables
from sid_trainer.estimate.manifest import KIND, load_run, run_sections
from sid_trainer.estimate.settings import GPU_MEMORY_GIB
from sid_trainer.memory import GIB, known_need, known_node_need, released_model

REPOSITORY = Path(__file__).parents[4]
ON_A_VOLUME = {
    "/mnt/models/stable-diffusion-3.5-large": "stabilityai/stable-diffusion-3.5-large",
}


def resource(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = next(
        d for d in yaml.safe_load_all(path.read_text()) if d.get("kind") == KIND
    )
    return found


EXAMPLES = [
    path
    for path in sorted((REPOSITORY / "examples").glob("distill-*.yaml"))
    if resource(path)["spec"].get("workers", {}).get("gpusPerNode") != 0
]


@cache
def estimated(path: Path) -> Estimate:
    config = load_run(path)
    model = ON_A_VOLUME.get(config.teacher.model, config.teacher.model)
    config = config.model_copy(
        update={"teacher": config.teacher.model_copy(update={"model": model})}
    )
    return estimate_run(config, find_skeleton(config.teacher))


def test_there_is_an_example_of_every_teacher() -> None:
    assert len(EXAMPLES) >= 9


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_manifest_is_read_as_the_operator_renders_it(path: Path) -> None:
    document = resource(path)
    spec = SiDDistillationSpec.model_validate(document["spec"])
    rendered = run_config(spec, "default", document["metadata"]["name"])
    ours = load_run(path)
    kept = {"storage": rendered.storage, "launch": rendered.launch}
    assert ours.model_copy(update=kept) == rendered
    assert ours.launch.world_size == rendered.launch.world_size
    assert ours.launch.device == rendered.launch.device


def test_nothing_of_how_the_bucket_is_opened_is_asked_about() -> None:
    document = resource(EXAMPLES[0])
    for opened in ({"secretRef": {"name": "s3"}}, {"serviceAccountName": "distiller"}):
        bundle = {"name": "authorities"}
        document["spec"]["checkpoint"] = {"bucket": "sid", "caBundleRef": bundle, **opened}
        assert RunConfig.model_validate(run_sections(document)).storage.uri == "s3://sid"


def test_what_is_kubernetes_own_is_left_out() -> None:
    spec = {field.alias: {} for field in SiDDistillationSpec.model_fields.values()}
    assert len(spec) > len(TrainerSections.model_fields)
    known = {
        field.alias for field in RunConfig.model_fields.values()
    } | RunConfig.model_fields.keys()
    assert run_sections({"spec": spec}).keys() <= known


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_fits_its_gpus_and_its_pods(path: Path) -> None:
    estimate = estimated(path)
    assert estimate.fits(int(GPU_MEMORY_GIB * GIB))
    limits = resource(path)["spec"].get("workers", {}).get("resources", {}).get("limits", {})
    if "memory" in limits:
        assert estimate.node.size <= int(limits["memory"].removesuffix("Gi")) * GIB


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_the_operator_computes_is_what_is_estimated(path: Path) -> None:
    """It has no torch, and computes from what was measured once and is shipped."""
    config, estimate = load_run(path), estimated(path)
    model = released_model(config.teacher.model)
    assert model is not None
    need = known_need(config, model)
    told = "stale: run python -m sid_trainer.estimate.measure"
    assert need.resident == estimate.resident, told
    for computed, measured in zip(need.phases, estimate.phases, strict=True):
        assert computed.size == pytest.approx(measured.size, rel=0.03), f"{measured.name} is {told}"
    assert known_node_need(config, model) == estimate.node, told


def test_command_tells_whether_it_fits(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(REPOSITORY / "examples" / "distill-sana-06b.yaml")
    assert command.main(["--config", path]) == 0
    assert "fits into 79.0 GiB" in capsys.readouterr().out
    assert command.main(["--config", path, "--gpu-memory", "4", "--json"]) == 1
    assert '"fits": false' in capsys.readouterr().out


def test_tables_of_the_documentation_are_what_is_computed() -> None:
    text = (REPOSITORY / "docs" / "memory.md").read_text()
    assert with_tables(text) == text, "run: python -m sid_trainer.estimate docs/memory.md"
    rows = re.findall(r"\*\*(\d+\.\d)\*\*", text.split("<!-- end of paper -->")[0])
    assert all(float(need) <= GPU_MEMORY_GIB for need in rows)
