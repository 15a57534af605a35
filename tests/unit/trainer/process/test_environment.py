"""The environment of a rank, and what its cgroup tells."""

from pathlib import Path

import pytest

from sid_trainer.process import environment


def test_caches_leave_home_alone_and_user_settings_win() -> None:
    environ = environment.training_environment(
        {"TMPDIR": "/scratch", "HF_HOME": "/mine"}, "cpu", processes=2, cpus=5.0
    )
    assert environ["HF_HOME"] == "/mine"
    assert environ["TORCH_EXTENSIONS_DIR"] == "/scratch/sid-cache/torch-extensions"
    assert environ["OMP_NUM_THREADS"] == environ["TORCHINDUCTOR_COMPILE_THREADS"] == "2"
    assert environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"


@pytest.mark.parametrize(
    ("device", "given", "expected"),
    [
        ("cuda", {}, "expandable_segments:True"),
        ("cuda", {"PYTORCH_ALLOC_CONF": "max_split_size_mb:512"}, "max_split_size_mb:512"),
        ("cuda", {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:512"}, None),
        ("cpu", {}, None),
    ],
)
def test_memory_of_a_gpu_grows_in_segments_unless_the_user_says_how(
    device: str, given: dict[str, str], expected: str | None
) -> None:
    environ = environment.training_environment(given, device, processes=1, cpus=1.0)
    assert environ.get("PYTORCH_ALLOC_CONF") == expected


@pytest.mark.parametrize(("content", "cpus"), [("max 100000", None), ("50000 100000", 0.5)])
def test_cpu_quota_of_cgroup_v2(tmp_path: Path, content: str, cpus: float | None) -> None:
    (tmp_path / "cpu.max").write_text(content)
    unlimited = environment.available_cpus(tmp_path / "none")
    assert environment.available_cpus(tmp_path) == (unlimited if cpus is None else cpus)


def test_cpu_quota_of_cgroup_v1(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("25000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert environment.available_cpus(tmp_path) == 0.25


def test_memory_kills_are_counted_in_both_cgroup_versions(tmp_path: Path) -> None:
    assert environment.memory_kills(tmp_path) == 0
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.oom_control").write_text("under_oom 0\noom_kill 2\n")
    assert environment.memory_kills(tmp_path) == 2
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 1\n")
    assert environment.memory_kills(tmp_path) == 1
