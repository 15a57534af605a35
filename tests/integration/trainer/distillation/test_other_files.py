"""Nodes that have other files of the teacher under one name never make a mixture of both."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml
from sid_ranks import run_config, run_on_ranks


def test_nodes_with_other_files_do_not_train(tiny_sd3: Path, tmp_path: Path) -> None:
    for rank in ("0", "1"):
        shutil.copytree(tiny_sd3, tmp_path / rank / "models" / "teacher")
    weights = tmp_path / "1/models/teacher/transformer/diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a seven\n")
    config = run_config(
        "models/teacher",
        data={"prompts": {"uri": str(prompts)}},
        storage={"uri": f"file://{tmp_path}/run"},
    )
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", by_alias=True)))
    run_on_ranks(tmp_path, "other_files_on_ranks.py", str(file), str(tmp_path))
    for rank in (0, 1):
        told = (tmp_path / f"rank{rank}.log").read_text()
        assert "StorageUnavailable: teacher.model is not the same on all nodes" in told
    assert not (tmp_path / "run" / "checkpoints").exists()
