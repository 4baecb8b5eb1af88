"""Drift levels as a device takes them."""

from __future__ import annotations

from typing import Literal, get_args

Level = Literal["auto", "input", "feature", "output"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""``auto`` lets the sample decide."""
