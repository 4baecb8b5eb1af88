"""The power management chip (PMIC) of a Raspberry Pi 5, which measures volts and amperes of its twelve rails."""

from __future__ import annotations

import re
from typing import Literal

from tbft.energy.sensors.source import Part, PlausibleWatts, SensorFault
from tbft.energy.sensors.vcgencmd import ask

# The firmware prints `VDD_CORE_A current(7)=0.80070000A`, or in its other format `VDD_CORE_A=0.80070000A`.
# In both, the unit at the end tells volts from amperes.
_READING = re.compile(r"^\s*(\w+?)(?:_[AV])?(?:\s+\w+\(\d+\))?\s*=\s*(-?[\d.]+)\s*([AV])\s*$", re.MULTILINE)


def rail_watts(answer: str) -> dict[str, float]:
    """Return the watts of each rail that reports volts and amperes.

    Rails with only one of the two (the 5 V input, the clock's battery, HDMI's current) are left out.

    Args:
        answer: Output of `vcgencmd pmic_read_adc`, in either format.

    Raises:
        SensorFault: If no rail can be read.
    """
    volts: dict[str, float] = {}
    amperes: dict[str, float] = {}
    for rail, number, unit in _READING.findall(answer):
        try:
            (volts if unit == "V" else amperes)[rail] = float(number)
        except ValueError:
            raise SensorFault(f"the PMIC's rail {rail} reads {number!r} and no number") from None
    rails = {rail: volts[rail] * amperes[rail] for rail in volts if rail in amperes}
    if not rails:
        raise SensorFault("vcgencmd pmic_read_adc named no rail with volts and amperes")
    return rails


class PmicSource:
    """A power source that adds up the PMIC's rails or reads one of them, by starting `vcgencmd` for each reading.

    The rails lie behind the chip's own converters and do not include the 5 V loads: the board draws more than this
    source reports.
    """

    name = "pmic"
    unit: Literal["watts", "joules"] = "watts"
    measured = True
    resolution_seconds = 0.02
    sample_seconds = 0.0
    instant = False

    def __init__(self, vcgencmd: str = "vcgencmd", rail: str | None = None) -> None:
        """Take a first reading, to find out whether the PMIC answers.

        Args:
            vcgencmd: Name or path of the program.
            rail: The only rail to count, such as `VDD_CORE` (then the source covers the CPU); None for all.

        Raises:
            SensorFault: If this is no Pi 5, the program is missing or hangs, or there is no such rail.
        """
        self._vcgencmd = vcgencmd
        self._rail = rail
        self.covers: Part = "board" if rail is None else "cpu"
        self.plausible = PlausibleWatts(0.1 if rail is None else 1e-3, 40.0)  # the Pi 5's power supply gives 27 W
        self.note = (
            "pmic: the Pi 5's rails behind its converters; USB, HAT and NVMe loads at 5 V are not seen"
            if rail is None
            else f"pmic: the rail {rail} alone"
        )
        self.read()

    def read(self) -> float:
        """Return watts now.

        Raises:
            SensorFault: If the firmware does not answer, or there is no such rail.
        """
        rails = rail_watts(ask(self._vcgencmd, "pmic_read_adc"))
        if self._rail is None:
            return sum(rails.values())
        if self._rail not in rails:
            raise SensorFault(f"the PMIC has no rail {self._rail} (it has {', '.join(sorted(rails))})")
        return rails[self._rail]
