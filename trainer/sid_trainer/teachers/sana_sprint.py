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
are evenly spaced (ours are not), and its ``timesteps`` argument fails (diffusers 0.42.1). The
student's guidance input is always 1, so its embedding is a constant: it is added to the bias that
it meets, which leaves SANA's own architecture. A run that starts from such a student
(``student.initFrom``) has the input again, with an embedding of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from diffusers import SanaSprintPipeline, SanaTransformer2DModel
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor

from sid_trainer.config import Family
from sid_trainer.exported_network import ExportedNetwork
from sid_trainer.guidance import UNGUIDED
from sid_trainer.teachers.sana import SanaTeacher
from sid_trainer.weights import Weights

_SANA_TIME_SCALE = 0.001
"""``timestep_scale`` by which a SanaPipeline gives the network sigma in [0, 1]."""
_TIME, _GUIDANCE = "time_embed.timestep_embedder.", "time_embed.guidance_embedder."
_SANA_TIME = "time_embed.emb.timestep_embedder."
_BIAS = "linear_2.bias"


class SanaSprintTeacher(SanaTeacher):
    """Adapter of the SANA-Sprint family.

    A SanaPipeline may be opened by it, too, when its network takes time in [0, 1] but its config's
    ``timestep_scale`` does not tell; guidance is then classifier-free.
    """

    family: ClassVar[Family] = "sana-sprint"
    pipelines: ClassVar[frozenset[str]] = frozenset({"SanaSprintPipeline", "SanaPipeline"})
    _pipeline_class: ClassVar[Any] = SanaSprintPipeline
    _encode_options: ClassVar[Mapping[str, Any]] = {}

    def time_input(self, sigma: Tensor) -> Tensor:
        """The noise levels themselves."""
        return sigma

    def weights(self, stored: Weights) -> Weights:
        """A teacher's weights, or those of an exported student; see :meth:`Teacher.weights`."""
        if self._config.get("guidance_embeds") and _SANA_TIME + _BIAS in stored:
            return _WithGuidanceInput(stored)
        return stored

    def exported(self, weights: dict[str, Tensor], resolution: int) -> ExportedNetwork:
        """The student as a SanaPipeline; see :meth:`Teacher.exported`."""
        if self._config.get("guidance_embeds"):
            weights = without_guidance_input(weights, float(self._config["guidance_embeds_scale"]))
        config = self._config | {"guidance_embeds": False, "timestep_scale": _SANA_TIME_SCALE}
        with torch.device("meta"):
            module = SanaTransformer2DModel.from_config(config)
        return ExportedNetwork(
            self.network_folder,
            module,
            weights,
            self.dtype,
            pipeline="SanaPipeline",
            call=self.call_arguments(resolution),
        )


class _WithGuidanceInput:
    """An exported student's weights by the names of the network that has the guidance input.

    The embedding's value at 1 is a part of the time embedding's bias already, so it is zero here.

    Args:
        stored: by SANA's names.
    """

    def __init__(self, stored: Weights) -> None:
        self._stored = stored

    def __contains__(self, name: object) -> bool:
        text = str(name)
        return text.startswith(_GUIDANCE) or _exported_name(text) in self._stored

    def read(self, name: str, shape: torch.Size) -> Tensor:
        """One tensor; see :meth:`Weights.read`."""
        if name.startswith(_GUIDANCE):
            return torch.zeros(shape)
        return self._stored.read(_exported_name(name), shape)


def _exported_name(name: str) -> str:
    return _SANA_TIME + name.removeprefix(_TIME) if name.startswith(_TIME) else name


@torch.no_grad()
def without_guidance_input(weights: Mapping[str, Tensor], input_scale: float) -> dict[str, Tensor]:
    """Weights of the network without guidance input that equals the given one at guidance 1.

    Args:
        weights: of a ``SanaTransformer2DModel`` with ``guidance_embeds``.
        input_scale: its ``guidance_embeds_scale``.
    """
    bias = weights[_TIME + _BIAS]
    embedder = TimestepEmbedding(in_channels=256, time_embed_dim=len(bias))
    embedder.load_state_dict(_part(weights, _GUIDANCE))
    frequencies = Timesteps(num_channels=256, flip_sin_to_cos=True, downscale_freq_shift=0)
    constant = embedder(frequencies(torch.tensor([UNGUIDED * input_scale])))[0]
    kept = {name: w for name, w in weights.items() if not name.startswith((_TIME, _GUIDANCE))}
    time = _part(weights, _TIME) | {_BIAS: (bias.float() + constant).to(bias.dtype)}
    return kept | {_SANA_TIME + name: weight for name, weight in time.items()}


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }
