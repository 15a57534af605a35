"""FlashAttention 4 as torch calls it: the versions at hand fit together, and the kernels compile.

Its kernels are compiled when they are first used. That needs no GPU: tensors without numbers are
enough, and the architecture that is meant. Each in a process of its own, which reads it once.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMPILED = """
import cutlass
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import _fa4, activate_flash_attention_impl
from sid_trainer.engine.attention import TRIED

activate_flash_attention_impl("FA4")
_fa4._get_device_major = lambda device: {major}


class Chip:  # asked through the driver
    get_device_multiprocessor_count = get_max_active_clusters = lambda self, *_: {processors}


cutlass.utils.HardwareInfo = Chip
dense, whole = (None,) * 2, (None,) * 2
with FakeTensorMode():
    for shape in TRIED:
        tokens = shape[1]
        query, key, value, gradient = (
            torch.empty(shape, device="cuda", dtype=torch.bfloat16) for _ in range(4)
        )
        given = torch.empty_like(query.transpose(1, 2)).transpose(1, 2)
        out, lse = _fa4._fa4_run_forward(
            query, key, value, *dense, tokens, tokens, None, False, *whole, None, given
        )
        assert (out.shape, lse.dtype) == (query.shape, torch.float32)
        found = _fa4._fa4_run_backward(
            gradient, query, key, value, out, lse, *dense, None, False, *whole
        )
        assert [g.shape for g in found] == [query.shape] * 3
print("compiled")
"""


@pytest.mark.parametrize(
    ("architecture", "major", "processors"),
    [("sm_90a", 9, 132), ("sm_100a", 10, 148)],
    ids=["Hopper", "Blackwell"],
)
def test_kernels_of_the_pinned_versions_compile(
    architecture: str, major: int, processors: int
) -> None:
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": "",
        "CUTE_DSL_ARCH": architecture,
        "FLASH_ATTENTION_ARCH": architecture.removesuffix("a"),
        "FLASH_ATTENTION_NUM_SMS": str(processors),
    }
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILED.format(major=major, processors=processors)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout.splitlines()[-1:]) == (0, ["compiled"]), ran.stderr[-3000:]
