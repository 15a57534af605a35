"""SANA-Sprint: ``SanaSprintPipeline`` directories, TrigFlow around a SANA network.

TrigFlow noises data of standard deviation ``d`` by an angle: ``y = cos(t) d x0 + sin(t) d noise``.
The stock pipeline takes ``sigma = sin(t) / (sin(t) + cos(t))`` as the network's time, gives the
network ``r y / d`` with ``r = sqrt(sigma^2 + (1 - sigma)^2)``, and recombines input and output::

    cos(t) = (1 - sigma) / r,  sin(t) = sigma / r
    input  = r (cos(t) x0 + sin(t) noise) = (1 - sigma) x0 + sigma noise = x_sigma
    x0     = cos(t) y / d - sin(t) [(1 - 2 sigma) x_sigma + r^2 output] / r
           = x_sigma [(1 - sigma) - sigma (1 - 2 sigma)] / r^2 - sigma output
           = x_sigma - sigma output,  because r^2 = 1 - 2 sigma + 2 sigma^2

So on flow-matching latents the bare network is a velocity network with time ``sigma``: neither the
angle nor ``d`` is seen here. Its guidance scale is an input.

The student is exported as a ``SanaPipeline``, because SanaSprintPipeline cannot run it: its angles
are evenly spaced (ours are not), and its ``timesteps`` argument fails (diffusers 0.42.1). Without
the guidance input (:mod:`.guidance_input`) it has SANA's own architecture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import SanaSprintPipeline
from torch import Tensor

from sid_trainer.config import Family
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.models.exported_network import ExportedNetwork
from sid_trainer.models.pipeline_index import read_index
from sid_trainer.models.weights import Weights
from sid_trainer.teachers.base import TIME_SCALE
from sid_trainer.teachers.guidance_input import GuidanceInput
from sid_trainer.teachers.sana import SanaTeacher

_SANA_PIPELINE = "SanaPipeline"
_SCALE_ENTRY = "timestep_scale"
_SANA_TIME_SCALE = 0.001
"""The scale by which a SanaPipeline gives the network sigma in [0, 1]."""
_TIME = "time_embed.timestep_embedder."
_SANA_TIME = "time_embed.emb.timestep_embedder."


class SanaSprintTeacher(SanaTeacher):
    """Adapter of the SANA-Sprint family.

    A SanaPipeline may be opened by it, too, when its network takes time in [0, 1]; guidance is then
    classifier-free.

    Raises:
        TrainerError: ``InvalidConfiguration`` for a SanaPipeline whose network's config tells of
            another time.
    """

    family: ClassVar[Family] = "sana-sprint"
    _pipeline_class: ClassVar[Any] = SanaSprintPipeline
    _encode_options: ClassVar[Mapping[str, Any]] = {}
    exported_settings: ClassVar[Mapping[str, object]] = {
        "guidance_embeds": False,
        _SCALE_ENTRY: _SANA_TIME_SCALE,
    }

    def __init__(self, directory: Path, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(directory, device, dtype)
        # SanaSprintPipeline itself does not look at the scale.
        if read_index(directory)["_class_name"] == _SANA_PIPELINE:
            _require_unit_time(self.network_config.get(_SCALE_ENTRY, _SANA_TIME_SCALE))

    def time_input(self, sigma: Tensor) -> Tensor:
        """The noise levels themselves."""
        return sigma

    def weights(self, stored: Weights) -> Weights:
        """A teacher's weights, or those of an exported student; see :meth:`Teacher.weights`."""
        return self._guidance.put_back(stored) if self._guidance else stored

    def exported(self, weights: dict[str, Tensor], resolution: int) -> ExportedNetwork:
        """The student as a SanaPipeline; see :meth:`Teacher.exported`."""
        if self._guidance:
            weights = self._guidance.left_out(weights)
        module = self.meta_network(**self.exported_settings)
        return ExportedNetwork(
            self.network_folder,
            module,
            weights,
            self.dtype,
            pipeline=_SANA_PIPELINE,
            call=self.call_arguments(resolution),
        )

    @property
    def _guidance(self) -> GuidanceInput | None:
        """The network's guidance input, if it has one."""
        if not self.takes_guidance:
            return None
        return guidance_input(float(self.network_config["guidance_embeds_scale"]))


def _require_unit_time(scale: float) -> None:
    """Raise for a scale by which a SanaPipeline gives its network other times than sigma."""
    if not math.isclose(scale, _SANA_TIME_SCALE):
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"teacher.family is sana-sprint, whose networks take time in [0, 1], but "
            f"{_SCALE_ENTRY} {scale} in teacher.model's transformer/config.json tells of time in "
            f"[0, {scale * TIME_SCALE:g}]: leave teacher.family out",
        )


def guidance_input(scale: float) -> GuidanceInput:
    """The input of a ``SanaTransformer2DModel`` with this ``guidance_embeds_scale``."""
    return GuidanceInput(_TIME, "time_embed.guidance_embedder.", scale, _exported_name)


def _exported_name(name: str) -> str:
    return _SANA_TIME + name.removeprefix(_TIME) if name.startswith(_TIME) else name
