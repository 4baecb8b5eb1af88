"""Drift levels that a device accepts."""

from __future__ import annotations

from typing import Literal, get_args

Level = Literal["auto", "input", "feature", "output"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""All drift levels; with ``auto`` the sample decides."""
