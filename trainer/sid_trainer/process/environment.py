"""What a training process finds in its environment.

Rules this module keeps:

* Works with a read-only root file system and a read-only or absent home: every cache is put below
  ``SID_CACHE`` or ``TMPDIR``.
* A variable that the user has set stays.
* Threads follow the CPUs that the pod may use, not those that the node has.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

# Without it torch shares the agent's store with the workers and reuses stale addresses when a group
# forms anew: the survivors of a lost pod then never meet its replacement.
_SEPARATE_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
_QUIET = {
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",  # it warns at each fork otherwise
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
    # It warns that optional image processors are slower; no image processor is used.
    "TRANSFORMERS_VERBOSITY": "error",
}
_CACHES = {
    "HF_HOME": "huggingface",
    "XDG_CACHE_HOME": "xdg",
    "TORCH_EXTENSIONS_DIR": "torch-extensions",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "MPLCONFIGDIR": "matplotlib",
}
# Networks, reductions and text encoders come and go by turns, and k changes: the pieces of memory
# that they leave differ in size. Segments that can grow are given back and used again whole.
_ON_CUDA = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
_OLDER_NAME = "PYTORCH_CUDA_ALLOC_CONF"
MAX_THREADS = 16


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Folder for what may be lost: ``$SID_CACHE``, else ``sid-cache`` in the temporary folder."""
    named = environ.get("SID_CACHE")
    return (
        Path(named) if named else Path(environ.get("TMPDIR") or tempfile.gettempdir()) / "sid-cache"
    )


def training_environment(
    environ: Mapping[str, str], device: str, processes: int, cpus: float
) -> dict[str, str]:
    """The environment of the agent and its workers.

    Args:
        environ: the present environment, which wins.
        device: ``cuda`` or ``cpu``.
        processes: training processes of this node.
        cpus: CPUs that this node's processes may use together.
    """
    root = cache_root(environ)
    threads = max(1, min(MAX_THREADS, int(cpus / processes)))
    defaults = {
        **_QUIET,
        **{name: str(root / folder) for name, folder in _CACHES.items()},
        "OMP_NUM_THREADS": str(threads),
        # Of torch.compile, in every process; its own default follows the CPUs of the node.
        "TORCHINDUCTOR_COMPILE_THREADS": str(threads),
    }
    if device == "cpu":
        defaults |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    elif _OLDER_NAME not in environ:
        defaults |= _ON_CUDA
    return {**defaults, **environ, **_SEPARATE_STORE}


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """CPUs that this process may use: its affinity, and its cgroup's quota (v2 or v1)."""
    cpus = float(len(os.sched_getaffinity(0)))
    quota = _quota_v2(cgroup / "cpu.max") or _quota_v1(cgroup / "cpu")
    return min(cpus, quota) if quota else cpus


def memory_kills(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many processes of this pod the kernel has killed at its memory limit."""
    for file in (cgroup / "memory.events", cgroup / "memory" / "memory.oom_control"):
        if file.is_file():
            counts = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
            return int(counts.get("oom_kill", "0"))
    return 0


def _quota_v2(file: Path) -> float | None:
    if not file.is_file():
        return None
    quota, period = file.read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float | None:
    quota, period = folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"
    if not quota.is_file() or int(quota.read_text()) <= 0:
        return None
    return int(quota.read_text()) / int(period.read_text())
