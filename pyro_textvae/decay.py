"""How the learning rate falls and when training stops, as pure functions of the validation losses so far.

A rule reads every loss from the first epoch on, and how many epochs are planned, so it has no state to save.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True)
class Decision:
    """What to do after an epoch: the rate as a factor of the first one, whether to go back to the best weights (with a
    fresh optimiser), whether to stop."""

    rate_factor: float = 1.0
    reload_best: bool = False
    stop: bool = False


def none(losses: Sequence[float], epochs: int = 1) -> Decision:
    """A constant rate."""
    return Decision()


def linear(losses: Sequence[float], epochs: int) -> Decision:
    """An equal step down after each epoch, to 1 / `epochs` of the rate in the last: most for a short budget."""
    return Decision(max(0.0, 1 - len(losses) / epochs))


def cosine_restarts(losses: Sequence[float], epochs: int = 40, period: int = 10) -> Decision:
    """Half a cosine from the first rate towards 0, begun anew every `period` epochs (Fu et al. 2019).

    The last epoch of a cycle of 10 has 0.024 of the rate. The cycles of `cyclic_vae` are counted in updates: give it
    `period` epochs of them, and weight and rate restart together. Raises ValueError for a period below 1.
    """
    if period < 1:
        raise ValueError(f"'period' is {period}, but a cycle lasts at least one epoch")
    return Decision((1 + math.cos(math.pi * (len(losses) % period) / period)) / 2)


def zhu2020(
    losses: Sequence[float], epochs: int = 100, patience: int = 5, first_epoch: int = 15, decays: int = 5
) -> Decision:
    """Halve and go back to the best weights after `patience` epochs in a row above the reference (Zhu et al. 2020).

    The reference is the last loss that did not exceed it. Nothing is halved before epoch `first_epoch` (from 0),
    though the count runs; training stops at the last of `decays` halvings.
    """
    factor, count, halvings, reference = 1.0, 0, 0, float("inf")
    decayed = False
    for epoch, loss in enumerate(losses):
        decayed = False
        if loss > reference:
            count += 1
        else:
            count, reference = 0, loss
        if count >= patience and epoch >= first_epoch:
            factor, count, halvings, reference, decayed = factor / 2, 0, halvings + 1, loss, True
    return Decision(factor, reload_best=decayed, stop=halvings >= decays)


def shi2020(losses: Sequence[float], epochs: int = 50, hold: int = 3, least_patience: int = 10) -> Decision:
    """Times 0.8 at each epoch that is worse than the best and at least `hold` records from it (Shi et al. 2020).

    A record is an epoch that was compared with the best, the best itself the first. Patience starts at 10 epochs and
    becomes twice the epochs so far when the loss falls under 0.996 of the last loss that did so; training stops when
    it is used up or the rate falls under a thousandth.
    """
    factor, best, since_best = 1.0, float("inf"), 0
    patience, threshold = float(least_patience), float("inf")
    for epoch, loss in enumerate(losses, start=1):
        if loss < best:
            if loss < 0.996 * threshold:
                patience, threshold = max(patience, 2.0 * epoch), loss
            best, since_best = loss, 1
        else:
            since_best += 1
            if loss > best and since_best >= hold:
                factor *= 0.8
    return Decision(factor, stop=factor <= 1e-3 or len(losses) >= patience)


def kim2018(losses: Sequence[float], epochs: int = 30, first_epoch: int = 15, least: float = 0.03) -> Decision:
    """Halve after every epoch from the first one on, past `first_epoch`, that did not improve (Kim et al. 2018).

    Training stops when the rate falls under `least` of the first one.
    """
    factor, best, halving = 1.0, float("inf"), False
    for epoch, loss in enumerate(losses, start=1):
        halving = halving or (epoch > first_epoch and loss >= best)
        factor, best = (factor / 2 if halving else factor), min(best, loss)
    return Decision(factor, stop=factor < least)


def xu2018(losses: Sequence[float], epochs: int = 100, factor: float = 1.2, patience: int = 15) -> Decision:
    """Divide by 1.2 after every epoch without a new best; stop after `patience` of them in a row (Xu & Durrett 2018).

    A new best does not give the rate back. With KL annealing the first epochs, rich in KL that the loss charges in
    full, count as any others, as released: the rate falls through them, and training may stop before the KL shrinks.
    """
    rate, best, since_best = 1.0, float("inf"), 0
    for loss in losses:
        since_best = 0 if loss < best else since_best + 1
        rate, best = (rate / factor if since_best else rate), min(best, loss)
    return Decision(rate, stop=since_best >= patience)


DECAYS: dict[str, Callable[[Sequence[float], int], Decision]] = {
    "none": none,
    "linear": linear,
    "cosine_restarts": cosine_restarts,
    "zhu2020": zhu2020,
    "shi2020": shi2020,
    "kim2018": kim2018,
    "xu2018": xu2018,
    "xu2018_nvdm": partial(xu2018, factor=1.1),
}
