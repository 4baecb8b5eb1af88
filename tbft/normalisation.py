"""Check and convert the mean and standard deviation that images are normalised with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tbft.errors import BadInput


def check_normalisation(where: str, mean: Sequence[Any], std: Sequence[Any]) -> None:
    """Check that images can be normalised with these numbers.

    Args:
        where: start of the message: the option's section or the file that gives the numbers.
        mean: mean, on the scale 0 to 1: one finite number, or one for each of three channels.
        std: standard deviation, on the same scale: one finite number above 0, or one for each of three channels.

    Raises:
        BadInput: if they are anything else.
    """
    for name, values in (("mean", mean), ("std", std)):
        numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        good = len(numbers) == len(values) in (1, 3) and all(math.isfinite(v) for v in numbers)
        if not good or (name == "std" and min(numbers) <= 0):
            above = " above 0" if name == "std" else ""
            raise BadInput(
                f"{where}{name} is {list(values)}: give one finite number{above}, or one for each of three channels"
            )
        if name == "mean" and max(map(abs, numbers)) > 1:
            raise BadInput(
                f"{where}mean is {list(values)}: give mean and std on the scale 0 to 1, a 255th of 0 to 255's"
            )


def as_numbers(given: Any) -> tuple[Any, ...]:
    """Convert a mean or standard deviation (a number, list, array or tensor) to a tuple of Python numbers.

    Anything else is returned in a tuple, unchanged; ``check_normalisation`` refuses it.
    """
    try:
        return tuple(np.asarray(given, dtype=np.float64).ravel().tolist())
    except (TypeError, ValueError):
        return (given,)
