"""The finder of this machine's power sources: all in order of trust, or those that the user asks for."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tbft.energy.sensors import hwmon, nvml, rapl
from tbft.energy.sensors.codecarbon_tables import Processor
from tbft.energy.sensors.load_model import CpuLoadModel, RamModel
from tbft.energy.sensors.pmic import PmicSource
from tbft.energy.sensors.source import PowerSource, SensorFault
from tbft.errors import BadInput

SYSFS = Path("/sys")


def find_sources(
    choice: str | Sequence[str] = "auto",
    *,
    rail: str | None = None,
    shunt_ohms: float | None = None,
    sysfs: Path = SYSFS,
    vcgencmd: str = "vcgencmd",
) -> list[PowerSource]:
    """Return the sensors and counters of this machine, the most trusted first; models are not among them.

    A sensor in the board's supply line sees every load and comes first, then the Pi 5's PMIC, then the
    counters of the processor and the graphics card.

    Args:
        choice: `auto` for all; else the name or names to use, best first, such as `pmic` or `hwmon:ina219`
            (`hwmon` alone means any of them); `model` for none.
        rail: The rail or shunt to trust in hwmon or the PMIC, see `tbft.energy.sensors.hwmon.find`.
        shunt_ohms: True resistance of the hwmon sensor's shunt, in ohms.
        sysfs: The folder /sys, or a stand-in for it.
        vcgencmd: Name or path of the Raspberry Pi's `vcgencmd`.

    Raises:
        BadInput: If a named source or rail is not there, or `shunt_ohms` is not above 0 or fits no current sensor.
    """
    names = [choice] if isinstance(choice, str) else list(choice)
    if not names or names == ["model"] or names == ["model:cpu_load"]:
        return []
    if shunt_ohms is not None and shunt_ohms <= 0:
        raise BadInput(f"shunt_ohms is {shunt_ohms:g}: a shunt has more than 0 ohms")
    found: list[PowerSource] = [*hwmon.find(sysfs, rail, shunt_ohms)]
    if shunt_ohms is not None and not any(source.covers == "board" for source in found):
        raise BadInput(
            f"there is no current sensor whose driver names its shunt, to correct by shunt_ohms ({shunt_ohms:g}): "
            "see `python -m tbft meter` for what there is"
        )
    rail_found = bool(found)
    if shutil.which(vcgencmd):
        try:
            found.append(PmicSource(vcgencmd, None if rail_found else rail))
            rail_found = True
        except SensorFault:
            pass
    if rail is not None and not rail_found:
        raise BadInput(
            f"no power sensor has a rail, channel or address {rail!r}: see `python -m tbft meter` for what there is"
        )
    found += [*rapl.find(sysfs), *nvml.find()]
    if names == ["auto"]:
        return found
    chosen: list[PowerSource] = []
    for name in names:
        if name in ("model", "model:cpu_load"):
            continue  # the meter adds the models after all sensors
        matches = [source for source in found if source.name == name or source.name.split(":")[0] == name]
        if not matches:
            there = ", ".join(dict.fromkeys(source.name for source in found)) or "none"
            raise BadInput(
                f"there is no power source {name!r} on this machine (found: {there}): "
                "see `python -m tbft meter` for what is missing, or leave the choice at `auto`"
            )
        chosen += [source for source in matches if source not in chosen]
    return chosen


def models(
    cpu: Processor, ram: tuple[float, float] | None, clock: Callable[[], float] = time.monotonic
) -> list[PowerSource]:
    """Return the models of processor and memory, for parts without a sensor.

    Args:
        cpu: Name and full-load power of the processor.
        ram: Watts and GiB of the memory; None to leave the memory out.
        clock: The meter's clock, in seconds.
    """
    standing_in: list[PowerSource] = [CpuLoadModel(cpu, clock=clock)]
    if ram is not None:
        standing_in.append(RamModel(*ram))
    return standing_in
