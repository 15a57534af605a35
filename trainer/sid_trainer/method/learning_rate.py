"""The learning rate of an iteration.

It is a function of the iteration and the settings alone, so that a resumed run has the same one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LearningRate:
    """A rate that rises linearly to its value and stays there.

    Attributes:
        value: the final rate.
        warmup_iterations: iterations in which it rises; 0 for none.
        begins: iterations that are finished before the network's first update.
    """

    value: float
    warmup_iterations: int = 0
    begins: int = 0

    def of(self, iteration: int) -> float:
        """The rate of the iteration before which ``iteration`` were finished; never 0."""
        done = max(0, iteration - self.begins)
        if done >= self.warmup_iterations:
            return self.value
        return self.value * (done + 1) / self.warmup_iterations
