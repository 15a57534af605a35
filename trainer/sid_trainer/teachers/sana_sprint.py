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

from collections.abc import Mapping
from typing import Any, ClassVar

from diffusers import SanaSprintPipeline
from torch import Tensor

from sid_trainer.config import Family
from sid_trainer.models.exported_network import ExportedNetwork
from sid_trainer.models.weights import Weights
from sid_trainer.teachers.guidance_input import GuidanceInput
from sid_trainer.teachers.sana import SanaTeacher

_SANA_TIME_SCALE = 0.001
"""``timestep_scale`` by which a SanaPipeline gives the network sigma in [0, 1]."""
_TIME = "time_embed.timestep_embedder."
_SANA_TIME = "time_embed.emb.timestep_embedder."


class SanaSprintTeacher(SanaTeacher):
    """Adapter of the SANA-Sprint family.

    A SanaPipeline may be opened by it, too, when its network takes time in [0, 1] but its config's
    ``timestep_scale`` does not tell; guidance is then classifier-free.
    """

    family: ClassVar[Family] = "sana-sprint"
    _pipeline_class: ClassVar[Any] = SanaSprintPipeline
    _encode_options: ClassVar[Mapping[str, Any]] = {}

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
        module = self.meta_network(guidance_embeds=False, timestep_scale=_SANA_TIME_SCALE)
        return ExportedNetwork(
            self.network_folder,
            module,
            weights,
            self.dtype,
            pipeline="SanaPipeline",
            call=self.call_arguments(resolution),
        )

    @property
    def _guidance(self) -> GuidanceInput | None:
        """The network's guidance input, if it has one."""
        if not self.takes_guidance:
            return None
        return guidance_input(float(self.network_config["guidance_embeds_scale"]))


def guidance_input(scale: float) -> GuidanceInput:
    """The input of a ``SanaTransformer2DModel`` with this ``guidance_embeds_scale``."""
    return GuidanceInput(_TIME, "time_embed.guidance_embedder.", scale, _exported_name)


def _exported_name(name: str) -> str:
    return _SANA_TIME + name.removeprefix(_TIME) if name.startswith(_TIME) else name
