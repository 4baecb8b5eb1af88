"""Mean and standard deviation of the pictures that a network takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tbft.errors import BadInput


def check_normalisation(where: str, mean: Sequence[Any], std: Sequence[Any]) -> None:
    """Make sure that pictures can be normalised.

    Args:
        where: the option or the file that gives the numbers, as the start of the message.
        mean: one finite number, or one a channel, on the scale 0 to 1.
        std: likewise, above 0.

    Raises:
        BadInput: if they are other numbers, or none.
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
    """A mean or standard deviation as Python's own numbers: of one number, a list, an array or a tensor.

    What is no number stays as it is, for ``check_normalisation`` to refuse.
    """
    try:
        return tuple(np.asarray(given, dtype=np.float64).ravel().tolist())
    except (TypeError, ValueError):
        return (given,)
