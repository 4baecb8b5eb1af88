"""A library inside somebody's program: it computes as in a process of its own, and the program's state stays as it is.

Random numbers, torch's default type of numbers and torch.fx's view of modules belong to the whole process, and so does
the processor time that is booked to an adaptation: of two threads that adapt, one waits for the other.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import RLock
from typing import Any

import numpy as np
import torch

from tbft.errors import BadInput

_turn = [RLock()]


def _start_anew() -> None:
    """Forget who had the turn: in a forked process that thread is not there."""
    _turn[0] = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def checked_seed(seed: Any) -> int:
    """A seed that Python's, numpy's and torch's generators all take, as Python's own number.

    Raises:
        BadInput: if it is no whole number from 0 to 2**32 - 1.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise BadInput(f"seed is {seed!r}: give a whole number from 0 to {2**32 - 1}")
    return int(seed)


@contextmanager
def own_state() -> Iterator[None]:
    """Seed and compute as in a process of its own, one thread at a time; all is as before, however the block ends."""
    with _turn[0], own_modes():
        states, default = (random.getstate(), np.random.get_state()), torch.get_default_dtype()
        try:
            with torch.random.fork_rng():
                torch.set_default_dtype(torch.float32)
                yield
        finally:
            torch.set_default_dtype(default)
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextmanager
def own_modes() -> Iterator[None]:
    """Compute in the modes that a thread starts in: gradients, no autocast, new tensors on the processor."""
    with ExitStack() as modes:
        modes.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if torch.is_inference_mode_enabled():
            modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(
                device
            ):  # which caches weights, trained ones too, until its outermost context ends
                modes.enter_context(torch.autocast(device, enabled=False, cache_enabled=False))
        if torch.get_default_device().type != "cpu":
            modes.enter_context(torch.device("cpu"))
        yield
