"""Pictures of what the student draws by now: always the same prompts from the same noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sid_trainer.conditions import Condition
from sid_trainer.config import RunConfig
from sid_trainer.data.encoding import encode_each
from sid_trainer.distributed import Place
from sid_trainer.iteration import Distiller
from sid_trainer.noise import NoiseSource
from sid_trainer.teachers import Teacher

DEFAULT_PROMPTS = 16


def preview_prompts(config: RunConfig, training_prompts: Sequence[str]) -> list[str]:
    """The configured prompts, or the first different training prompts."""
    if config.evaluation.prompts is not None:
        return config.evaluation.prompts
    return list(dict.fromkeys(training_prompts))[:DEFAULT_PROMPTS]


class Previews:
    """Samples of the averaged student, shared out over the ranks.

    Args:
        teacher: encodes the prompts now, and decodes the latents later.
        prompts: a picture each.
        seed: of the noise.
        place: this rank.
        micro_batch_size: samples computed at a time.
    """

    def __init__(
        self,
        teacher: Teacher,
        prompts: Sequence[str],
        seed: int,
        place: Place,
        micro_batch_size: int,
    ) -> None:
        self.prompts = list(prompts)
        self._teacher = teacher
        self._seed = seed
        self._place = place
        self._micro_batch_size = micro_batch_size
        # Every rank computes as many; the last ones of the last rank may be computed in vain.
        share = -(-len(self.prompts) // place.world_size)
        mine = [i % len(self.prompts) for i in range(place.rank * share, (place.rank + 1) * share)]
        rows = encode_each(list(dict.fromkeys(self.prompts[i] for i in mine)), teacher.encode)
        self._samples = mine
        self._condition = Condition.cat([rows[self.prompts[i]] for i in mine])

    def images(self, distiller: Distiller) -> Tensor | None:
        """Images ``[N, 3, H, W]`` in [0, 1] of all prompts on rank 0, else None; a collective."""
        with distiller.networks.averaged_student() as network:
            parts = [
                distiller.sample(
                    network,
                    NoiseSource(self._seed, 0, self._samples[cut], self._place.device),
                    self._condition[cut].to(self._teacher.device, self._teacher.dtype),
                )
                for cut in self._cuts()
            ]
        mine = torch.cat(parts).contiguous()
        everyone = mine.new_empty(len(mine) * self._place.world_size, *mine.shape[1:])
        torch.distributed.all_gather_into_tensor(everyone, mine)
        if self._place.rank != 0:
            return None
        return self._teacher.decode(everyone[: len(self.prompts)])

    def _cuts(self) -> list[slice]:
        size = self._micro_batch_size
        return [slice(start, start + size) for start in range(0, len(self._samples), size)]
