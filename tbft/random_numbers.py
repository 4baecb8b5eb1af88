"""Random numbers of a library inside somebody's program: seeded by one number, and the program's own left alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from tbft.errors import BadInput


def check_seed(seed: Any) -> None:
    """Make sure that Python's, numpy's and torch's generators all take a seed.

    Raises:
        BadInput: if it is no whole number from 0 to 2**32 - 1.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise BadInput(f"seed is {seed!r}: give a whole number from 0 to {2**32 - 1}")


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Give the caller's random number generators back as they were, however the block ends."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
