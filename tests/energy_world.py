"""A machine for the meter's tests: sensors as files, programs as shell scripts, and time that is set by hand."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from tbft.energy import EnergyMeter

Curve = Callable[[float], float]

CURVES: dict[str, tuple[Curve, Curve]] = {
    # Watts at t, and joules from 0 to t in closed form.
    "constant": (lambda t: 5.0, lambda t: 5.0 * t),
    "ramp": (lambda t: 3.0 + 0.1 * t, lambda t: 3.0 * t + 0.05 * t**2),
    # 3 W and 7 W by turns, 1.7 s each time round.
    "square": (
        lambda t: 7.0 if t % 1.7 < 0.85 else 3.0,
        lambda t: t // 1.7 * 8.5 + 7.0 * min(t % 1.7, 0.85) + 3.0 * max(0.0, t % 1.7 - 0.85),
    ),
}


def write(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def chip(sysfs: Path, number: int, name: str, **files: object) -> Path:
    return write(sysfs / "class" / "hwmon" / f"hwmon{number}", name=name, **files)


def powercap(sysfs: Path, zone: str, name: str, joules: float, range_joules: float = 1000.0) -> Path:
    return write(
        sysfs / "class" / "powercap" / zone,
        name=name,
        energy_uj=round(joules * 1e6),
        max_energy_range_uj=round(range_joules * 1e6),
    )


def program(path: Path, shell: str) -> str:
    path.write_text(f"#!/bin/sh\n{shell}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


class World:
    """A machine whose time is set by hand and whose sensor follows a curve."""

    def __init__(self, sysfs: Path, watts: Curve, *, rapl: Curve | None = None) -> None:
        self.now = 0.0
        self.watts, self.rapl = watts, rapl
        self.sysfs = sysfs
        self.sensor = chip(sysfs, 0, "ina219", power1_input=0) / "power1_input"
        if rapl is not None:
            self.counter = powercap(sysfs, "intel-rapl:0", "package-0", 0.0, 262_143.0) / "energy_uj"
        self.play()

    def play(self) -> None:
        if self.sensor.exists():
            self.sensor.write_text(f"{self.watts(self.now) * 1e6:.0f}\n")
        if self.rapl is not None:
            self.counter.write_text(f"{self.rapl(self.now) * 1e6:.0f}\n")

    def meter(self, **options: object) -> EnergyMeter:
        given = {"codecarbon": False, "vcgencmd": "no-such-program"} | options
        meter = EnergyMeter(sysfs=self.sysfs, background=False, clock=lambda: self.now, sleep=self.sleep, **given)
        self.running = meter
        meter.start()
        return meter

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.play()

    def until(self, moment: float, step: float = 0.1) -> None:
        """Lets time pass, with a reading every `step` seconds."""
        while self.now < moment - 1e-9:
            self.sleep(min(step, moment - self.now))
            self.running.sample()
