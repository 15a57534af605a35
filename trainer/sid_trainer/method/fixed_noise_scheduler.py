"""The scheduler of a student that was trained with one noise for all its steps.

A pipeline takes it in place of the one that it was loaded with::

    pipe.scheduler = FixedNoiseScheduler.from_config(pipe.scheduler.config)

The stock scheduler goes on with the noise that a step implies. This one puts back the noise that
sampling began with. It needs torch and diffusers only: a copy of this file goes with such students.
"""

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteSchedulerOutput,
)


class FixedNoiseScheduler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]  # it has no types
    """``FlowMatchEulerDiscreteScheduler`` with the first noise in every step."""

    def step(
        self,
        model_output: torch.Tensor,
        timestep: float | torch.Tensor,
        sample: torch.Tensor,
        *args: Any,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> Any:
        """From ``x`` to ``(1 - s) D + s z``: its clean estimate D, the next level s, first noise z.

        The arguments are those of the stock scheduler.
        """
        if self.step_index is None:
            self._first_noise = sample.float()
        super().step(model_output, timestep, sample, *args, return_dict=False, **kwargs)
        level, following = self.sigmas[self.step_index - 1], self.sigmas[self.step_index]
        clean = sample.float() - level * model_output
        # In fp32, and back to the network's type, as the stock scheduler does.
        x = ((1 - following) * clean + following * self._first_noise).to(model_output.dtype)
        return FlowMatchEulerDiscreteSchedulerOutput(prev_sample=x) if return_dict else (x,)
