"""Current sensors under /sys/class/hwmon: INA219, INA226, INA3221, Jetson rails, AMD graphics.

Units and file names follow the kernel's hwmon interface (Documentation/hwmon/sysfs-interface.rst):
microwatts, millivolts, milliamperes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tbft.energy.sensors.source import Part, PlausibleWatts, SensorFault
from tbft.energy.sensors.sysfs import numbered, read_number, read_text

_BOARD_CHIPS = re.compile(r"^(ina2\d\d|ina3221|power_meter)$")
_GPU_CHIPS = frozenset({"amdgpu"})
_PLAUSIBLE: dict[Part, PlausibleWatts] = {
    # From a Pi Zero at rest (0.4 W) to the largest Jetson module (130 W) with its carrier.
    "board": PlausibleWatts(0.1, 300.0),
    "gpu": PlausibleWatts(0.5, 2000.0),
}
_SERVER_WATTS = PlausibleWatts(5.0, 20_000.0)  # power_meter: the supply of a whole server

_TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN_SYS", "5V_IN", "TOTAL")
"""Labels under which a Jetson's INA3221 reports its whole input, which contains the other rails."""


@dataclass(frozen=True)
class Channel:
    """One shunt of a sensor chip.

    Attributes:
        label: The board maker's name of the rail, or else the stem of the file.
        number: The channel's number in the file names.
        files: One file with microwatts, or two with millivolts and milliamperes, whose product is microwatts.
    """

    label: str
    number: int
    files: tuple[Path, ...]

    def watts(self) -> float:
        """Return watts now."""
        return math.prod(read_number(file) for file in self.files) * 1e-6


def channels(chip: Path) -> list[Channel]:
    """Return the shunts of a chip: those with `powerN` files, or if there are none, those with `inN` and `currN`.

    Args:
        chip: A folder such as /sys/class/hwmon/hwmon2.
    """
    found: list[Channel] = []
    for path in numbered(chip, "power[0-9]*_input") + numbered(chip, "power[0-9]*_average"):
        number = int(re.findall(r"\d+", path.name)[0])
        if all(channel.number != number for channel in found):
            found.append(Channel(_label(chip, f"power{number}"), number, (path,)))
    if found:
        return found
    for current in numbered(chip, "curr[0-9]*_input"):
        number = int(re.findall(r"\d+", current.name)[0])
        voltage = chip / f"in{number}_input"
        label = _label(chip, f"in{number}")
        # An INA3221 has three shunts: its fourth current is their sum, its fourth voltage is not that of a bus.
        if voltage.exists() and label.upper() != "NC" and number <= 3:
            found.append(Channel(label, number, (voltage, current)))
    return found


def _label(chip: Path, stem: str) -> str:
    return read_text(chip / f"{stem}_label") or stem


def address(chip: Path) -> str:
    """Return the chip's bus address, such as `1-0040`, or the name of its hwmon folder."""
    device = chip / "device"
    return device.resolve().name if device.exists() else chip.name


class HwmonSource:
    """A power source that adds up the watts of one or several shunts of a sensor chip."""

    unit: Literal["watts", "joules"] = "watts"
    measured = True
    sample_seconds = 0.0
    instant = True

    def __init__(
        self,
        chip: Path,
        covers: Part,
        selected: list[Channel],
        *,
        shunt_ohms: float | None = None,
        note: str = "",
    ) -> None:
        """Set up the source; nothing is read yet.

        Args:
            chip: The chip's hwmon folder.
            covers: The part of the machine that the shunts supply.
            selected: The channels whose watts are added.
            shunt_ohms: Resistance of the board's shunt in ohms, if the driver assumes another; None for the driver's.
            note: A sentence for the record about the choice of the channels; or empty.

        Raises:
            SensorFault: If `shunt_ohms` is given and the driver does not tell the resistance that it assumes.
        """
        chip_name = read_text(chip / "name") or chip.name
        self.name = f"hwmon:{chip_name}"
        self.covers = covers
        self.note = note
        self.plausible = _SERVER_WATTS if chip_name == "power_meter" else _PLAUSIBLE[covers]
        self.resolution_seconds = _update_seconds(chip)
        self._selected = selected
        self._scale = 1.0
        if shunt_ohms is not None:
            # The chip measures the shunt's voltage: amperes and watts are inversely proportional to the resistance.
            self._scale = read_number(chip / "shunt_resistor") * 1e-6 / shunt_ohms

    def read(self) -> float:
        """Return watts now."""
        return self._scale * sum(channel.watts() for channel in self._selected)


def _update_seconds(chip: Path) -> float:
    try:
        return read_number(chip / "update_interval") * 1e-3  # milliseconds, conversion and averaging together
    except SensorFault:
        return 1e-3


def find(sysfs: Path, rail: str | None = None, shunt_ohms: float | None = None) -> list[HwmonSource]:
    """Return the current sensors of this machine, board sensors first.

    With `shunt_ohms`, board sensors whose driver tells no resistance are left out.

    Args:
        sysfs: The folder /sys, or a stand-in for it.
        rail: The rail or shunt to trust: a label (`VDD_IN`), a channel (`power1`, `in2`), a bus address
            (`1-0041`) or a folder (`hwmon3`). With it, only what matches is returned.
        shunt_ohms: True resistance of the board sensors' shunts in ohms, see `HwmonSource`.
    """
    board, gpu = [], []
    for chip in numbered(sysfs / "class" / "hwmon", "hwmon[0-9]*"):
        name = read_text(chip / "name") or ""
        all_channels = channels(chip)
        chip_named = rail is not None and rail in (address(chip), chip.name)
        if rail is not None and not chip_named:
            all_channels = [c for c in all_channels if rail in (c.label, f"power{c.number}", f"in{c.number}")]
        if not all_channels:
            continue
        try:
            if _BOARD_CHIPS.match(name):
                if rail is None:
                    selected, note = _input_rails(name, all_channels)
                else:
                    selected, note = all_channels, f"hwmon:{name}: {rail} alone, taken for the whole board"
                board.append(HwmonSource(chip, "board", selected, shunt_ohms=shunt_ohms, note=note))
            elif name in _GPU_CHIPS:
                gpu.append(HwmonSource(chip, "gpu", all_channels[:1]))
        except SensorFault:
            continue
    if len(board) > 1:
        board[0].note = "; ".join(filter(None, [board[0].note, _several(board)]))
    return board + gpu


def _input_rails(chip: str, all_channels: list[Channel]) -> tuple[list[Channel], str]:
    """Return the channels that together are the board's input, each joule once, and a note on the choice."""
    for channel in all_channels:
        if channel.label.upper() in _TOTAL_RAILS:
            return [channel], f"hwmon:{chip}: rail {channel.label}, behind which the other rails lie"
    if len(all_channels) == 1:
        return all_channels, ""
    labels = " + ".join(channel.label for channel in all_channels)
    return all_channels, f"hwmon:{chip}: sum of the rails {labels}; if one feeds another, name it with `rail`"


def _several(sources: list[HwmonSource]) -> str:
    names = ", ".join(source.name for source in sources[1:])
    return f"{len(sources)} board sensors, the first is trusted (also there: {names}); choose with `rail`"
