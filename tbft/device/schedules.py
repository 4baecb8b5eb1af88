"""Learning-rate schedules, equal to those of torch's schedulers."""

from __future__ import annotations

import math

RISE = 0.3
"""Share of a one-cycle run in which the rate rises."""

_START, _END = 25.0, 1e4
"""Ratio of the peak to the first rate, and ratio of the first rate to the last."""


def cosine(rate: float, steps: int) -> list[float]:
    """Return rates that fall from ``rate`` towards 0, one for each step.

    They are those of ``torch.optim.lr_scheduler.CosineAnnealingLR`` over the whole run.

    >>> [round(value, 3) for value in cosine(1.0, 4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    return [rate * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]


def one_cycle(peak: float, steps: int) -> list[float]:
    """Return rates that rise to ``peak`` and fall again, one for each step.

    They are those of ``torch.optim.lr_scheduler.OneCycleLR`` with its defaults; the momentum does not change.

    >>> [round(value, 4) for value in one_cycle(1.0, 10)]
    [0.04, 0.52, 1.0, 0.9505, 0.8117, 0.6113, 0.3887, 0.1883, 0.0495, 0.0]
    """
    first = peak / _START
    top = RISE * steps - 1
    rates = []
    for step in range(steps):
        if step <= top:
            rates.append(_between(first, peak, step / top))
        else:
            rates.append(_between(peak, first / _END, (step - top) / (steps - 1 - top)))
    return rates


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
