"""Text encoders and VAE visit the accelerator, and rest where they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sid_trainer.transfer import on_accelerator

ELSEWHERE = torch.device("meta")


@pytest.fixture
def module() -> nn.Module:
    """Parameters, a tied one, an absent one and buffers."""
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3))
    module[1].weight = module[0].weight
    return module


def test_modules_come_back_as_they_were_without_a_copy(module: nn.Module) -> None:
    before = {name: (t, t.data_ptr()) for name, t in module.state_dict(keep_vars=True).items()}
    with on_accelerator([module], ELSEWHERE):
        assert {t.device for t in module.state_dict().values()} == {ELSEWHERE}
    after = module.state_dict(keep_vars=True)
    assert after.keys() == before.keys()
    for name, (tensor, address) in before.items():
        assert after[name] is tensor
        assert tensor.data_ptr() == address
    assert module[1].weight is module[0].weight


def test_they_come_back_when_the_block_fails(module: nn.Module) -> None:
    with pytest.raises(RuntimeError, match="boom"), on_accelerator([module], ELSEWHERE):
        raise RuntimeError("boom")
    assert {t.device.type for t in module.state_dict().values()} == {"cpu"}
