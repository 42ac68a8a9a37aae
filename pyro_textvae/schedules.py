"""Schedules: training step to weight. A number times a schedule is a schedule."""

import math
from collections.abc import Callable
from dataclasses import dataclass

END = math.inf
"""The step after the last: there every schedule has its final value, 1."""


class Schedule:
    """A pure function of the step, counted from 0 in updates."""

    def __call__(self, step: float) -> float:
        raise NotImplementedError(f"{type(self).__name__} must say the weight at a step: define __call__(self, step)")

    def __mul__(self, factor: float) -> "Schedule":
        return Scaled(self, factor)

    __rmul__ = __mul__


Weight = float | Callable[[float], float]


def weight_at(weight: Weight, step: float) -> float:
    """The value of a number or of a schedule at a step."""
    return weight(step) if callable(weight) else weight


def times(weight: Weight, factor: float) -> Weight:
    """`factor` times a number or a schedule, of ours or any other function of the step."""
    if isinstance(weight, Schedule):
        return weight * factor
    if callable(weight):
        return lambda step: factor * weight(step)
    return weight * factor


@dataclass(frozen=True)
class Scaled(Schedule):
    """`factor` times another schedule."""

    schedule: Schedule
    factor: float

    def __call__(self, step: float) -> float:
        return self.factor * self.schedule(step)


@dataclass(frozen=True)
class Linear(Schedule):
    """From `start` to 1 in `steps` updates, then 1 (Bowman et al. 2016).

    >>> [Linear(steps=4)(step) for step in (0, 1, 2, 4, 9)]
    [0.0, 0.25, 0.5, 1.0, 1.0]
    """

    steps: int
    start: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"'steps' is {self.steps}, but a warm-up lasts at least one update")

    def __call__(self, step: float) -> float:
        return min(1.0, self.start + (1 - self.start) * step / self.steps)


@dataclass(frozen=True)
class Sigmoid(Schedule):
    """1 / (1 + exp(-slope (step - middle))); the DEM-VAE code has slope 0.0025 and middle 2500.

    >>> Sigmoid(middle=2500)(2500)
    0.5
    """

    middle: int
    slope: float = 0.0025

    def __call__(self, step: float) -> float:
        return 0.5 * (1 + math.tanh(0.5 * self.slope * (step - self.middle)))


@dataclass(frozen=True)
class Cyclic(Schedule):
    """Every `period` updates anew: linearly from 0 to 1 in the first `rising` share of it, then 1 (Fu et al. 2019).

    >>> [Cyclic(period=8)(step) for step in (0, 2, 4, 7, 8)]
    [0.0, 0.5, 1.0, 1.0, 0.0]
    """

    period: int
    rising: float = 0.5

    def __post_init__(self) -> None:
        if self.period < 1 or not 0 < self.rising <= 1:
            raise ValueError(
                f"a cycle of {self.period} updates, rising for {self.rising} of it, was asked for; a period is at "
                "least 1 and the rising share lies in (0, 1]"
            )

    def __call__(self, step: float) -> float:
        return 1.0 if step == END else min(1.0, (step % self.period) / (self.rising * self.period))
