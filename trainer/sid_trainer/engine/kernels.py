"""Which of a network's modules the accelerator's own kernels take over.

Rules this module keeps:

* No DeepSpeed: memory is estimated with it, too.
* Parameters keep their names, so that states and weights of the stock classes fit as they are.
"""

from __future__ import annotations

import torch
from diffusers.models.normalization import RMSNorm
from torch import nn


def use_fused_norms(network: nn.Module) -> None:
    """Put torch's RMSNorm, one kernel, in the place of diffusers', which takes seven.

    Both take the mean of squares in fp32; torch's also multiplies in fp32, and rounds once.
    """
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, RMSNorm) and child.bias is None:
                setattr(parent, name, _fused(child))


def _fused(norm: RMSNorm) -> nn.RMSNorm:
    with torch.device("meta"):
        fused = nn.RMSNorm(list(norm.dim), eps=norm.eps, elementwise_affine=False)
    fused.elementwise_affine = norm.weight is not None
    # The very parameter: ZeRO-3 has partitioned it already.
    fused.register_parameter("weight", norm.weight)
    return fused.train(norm.training)
