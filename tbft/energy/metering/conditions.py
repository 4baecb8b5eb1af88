"""Conditions outside a run that its energy depends on: throttling, temperature, frequency limits."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from tbft.energy.sensors.source import SensorFault
from tbft.energy.sensors.sysfs import numbered, read_number, read_text
from tbft.energy.sensors.vcgencmd import ask

THROTTLE_BITS = {
    0: "supply voltage too low",
    1: "processor frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
"""Bits of the Raspberry Pi's `get_throttled` for its present state; 16 bits higher are the same ones since boot."""
_NOW = 0xF


def throttle_words(flags: int) -> str:
    """Return the meanings of the set bits 0 to 3, separated by commas."""
    return ", ".join(word for bit, word in THROTTLE_BITS.items() if flags >> bit & 1)


class Conditions:
    """Reads throttling flags, temperatures and frequency limits."""

    def __init__(self, sysfs: Path, vcgencmd: str) -> None:
        """Find out whether this machine reports throttling by a file, by the program, or not at all.

        Args:
            sysfs: The folder /sys, or a stand-in for it.
            vcgencmd: Name or path of the Raspberry Pi's `vcgencmd`.
        """
        self._sysfs = sysfs
        files = numbered(sysfs / "devices" / "platform", "soc*/soc*:firmware/get_throttled")
        self._flags_file = files[0] if files else None
        self._vcgencmd = shutil.which(vcgencmd)

    def throttle_flags(self) -> int | None:
        """Return the flags of the Raspberry Pi's `get_throttled`, or None where they cannot be read."""
        try:
            if self._flags_file is not None:
                return int(read_text(self._flags_file) or "", 16)
            if self._vcgencmd is not None:
                return int(ask(self._vcgencmd, "get_throttled").partition("=")[2], 16)
        except (SensorFault, ValueError):
            self._vcgencmd = None  # a program that hangs or fails is not asked again
        return None

    def snapshot(self) -> dict[str, Any]:
        """Return the present conditions; those that this machine does not report are left out.

        Returns:
            `throttled` (flags, hexadecimal), `celsius` (of the hottest zone), `thermal_throttle_count` (since boot),
            `limit_mhz` and `highest_mhz` (the frequency that is allowed, and the one that is possible), `governor`, and
            `load_average` (over one minute).
        """
        seen: dict[str, Any] = {}
        flags = self.throttle_flags()
        if flags is not None:
            seen["throttled"] = hex(flags)
        heat = self._numbers("class/thermal", "thermal_zone*/temp", 1e-3)
        if heat:
            seen["celsius"] = max(heat)
        slowed = self._numbers("devices/system/cpu", "cpu[0-9]*/thermal_throttle/package_throttle_count", 1)
        if slowed:
            seen["thermal_throttle_count"] = int(max(slowed))
        limits = self._numbers("devices/system/cpu/cpufreq", "policy*/scaling_max_freq", 1e-3)
        if limits:
            seen["limit_mhz"] = max(limits)
        ceilings = self._numbers("devices/system/cpu/cpufreq", "policy*/cpuinfo_max_freq", 1e-3)
        if ceilings:
            seen["highest_mhz"] = max(ceilings)
        governor = read_text(self._sysfs / "devices/system/cpu/cpufreq/policy0/scaling_governor")
        if governor:
            seen["governor"] = governor
        if hasattr(os, "getloadavg"):
            seen["load_average"] = os.getloadavg()[0]
        return seen

    def _numbers(self, folder: str, pattern: str, scale: float) -> list[float]:
        numbers = []
        for path in numbered(self._sysfs / folder, pattern):
            try:
                numbers.append(read_number(path) * scale)
            except SensorFault:
                continue
        return numbers


def void_reason(before: dict[str, Any], after: dict[str, Any], flags_seen: int) -> str | None:
    """Return why the run cannot be compared with others, or None.

    Args:
        before: The snapshot taken before the run.
        after: The snapshot taken after the run.
        flags_seen: Bitwise "or" of all throttle flags that were read during the run.
    """
    was, now = (int(snapshot.get("throttled", "0x0"), 16) for snapshot in (before, after))
    new_since_boot = (now >> 16) & ~(was >> 16)
    bits = (was | now | flags_seen | new_since_boot) & _NOW
    if bits:
        return f"throttled during the run: {throttle_words(bits)}"
    slowed = after.get("thermal_throttle_count", 0) - before.get("thermal_throttle_count", 0)
    if slowed > 0:
        return f"throttled during the run: the processor was slowed by heat {slowed} times"
    return None
