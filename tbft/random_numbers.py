"""Use random numbers without changing those of the caller's program."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from tbft.errors import BadInput


def check_seed(seed: Any) -> None:
    """Check that a seed is one that Python's, numpy's and torch's generators all take.

    Raises:
        BadInput: if it is no whole number from 0 to 2**32 - 1.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise BadInput(f"seed is {seed!r}: give a whole number from 0 to {2**32 - 1}")


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Restore Python's, numpy's and torch's random number generators when the context ends, also by an exception."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
