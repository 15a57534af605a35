"""Pictures of what the student draws by now, and of what the teacher draws of the same.

Always the same prompts from the same noise. The teacher never changes: its pictures are drawn once
a start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import islice

import torch
from torch import Tensor

from sid_trainer.config import RunConfig
from sid_trainer.data.encoding import Encode, encode_each
from sid_trainer.engine.distributed import Place
from sid_trainer.evaluate.sampling import Draw, Sampling
from sid_trainer.evaluate.speed import measure_speed
from sid_trainer.method.conditions import Condition
from sid_trainer.report.records import Speed
from sid_trainer.report.samples import Above
from sid_trainer.teachers import Teacher

DEFAULT_PROMPTS = 16
_LOOKED_AT = 4096
"""Training prompts among which different ones are looked for: there may be millions."""


def preview_prompts(config: RunConfig, training_prompts: Iterable[str]) -> list[str]:
    """The configured prompts, or the first different training prompts."""
    if config.evaluation.prompts is not None:
        return config.evaluation.prompts
    different = dict.fromkeys(islice(training_prompts, _LOOKED_AT))
    return list(different)[:DEFAULT_PROMPTS]


class Previews:
    """Samples of the averaged student and of the teacher, shared out over the ranks.

    Args:
        teacher: decodes the latents.
        encode: encodes the prompts now.
        prompts: a picture each.
        place: this rank.
    """

    def __init__(
        self, teacher: Teacher, encode: Encode, prompts: Sequence[str], place: Place
    ) -> None:
        self.prompts = list(prompts)
        self._teacher = teacher
        self._place = place
        # Every rank computes as many; the last ones of the last rank may be computed in vain.
        share = -(-len(self.prompts) // place.world_size)
        mine = [i % len(self.prompts) for i in range(place.rank * share, (place.rank + 1) * share)]
        rows = encode_each(list(dict.fromkeys(self.prompts[i] for i in mine)), encode)
        self._samples = mine
        self._condition = Condition.cat([rows[self.prompts[i]] for i in mine])
        self._above: Above | None = None

    def student(self, sampling: Sampling) -> Tensor | None:
        """Its images ``[N, 3, H, W]`` in [0, 1] on rank 0, else None; a collective."""
        return self._images(sampling.student())

    def teacher(self, sampling: Sampling) -> Above | None:
        """The teacher's images on rank 0, drawn at the first call; a collective."""
        if sampling.teacher_steps == 0:
            return None
        if self._above is None:
            images = self._images(sampling.teacher())
            steps = sampling.distiller.student.steps
            title = f"above: teacher, {sampling.teacher_steps} steps; below: student, {steps}"
            # The other ranks hold no images; they remember that theirs are drawn.
            self._above = Above(torch.empty(0) if images is None else images, title)
        return self._above if self._place.rank == 0 else None

    def speed(self, sampling: Sampling) -> Speed | None:
        """How much faster the student draws than the teacher; a collective."""
        return measure_speed(sampling, self._samples, self._condition, self._place.world_size)

    def _images(self, network: AbstractContextManager[Draw]) -> Tensor | None:
        with network as draw:
            mine = draw(self._samples, self._condition).contiguous()
        everyone = mine.new_empty(len(mine) * self._place.world_size, *mine.shape[1:])
        torch.distributed.all_gather_into_tensor(everyone, mine)
        if self._place.rank != 0:
            return None
        return self._teacher.decode(everyone[: len(self.prompts)])
