"""CodeCarbon's tables, read from the files of its package: grams of CO2e per kilowatt-hour, watts per processor.

CodeCarbon itself asks `py-cpuinfo` for the processor's name and loads pandas to look it up. That takes about 1.9
CPU-seconds, as much as a small adaptation. The tables are plain CSV and JSON files.
"""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tbft.errors import BadInput

WATTS_PER_THREAD = 4.0
"""Watts of a hardware thread that CodeCarbon assumes if its table lacks the processor (codecarbon.core.cpu)."""

_ARM_PARTS = {"0xd03": "Cortex-A53", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76", "0xd42": "Cortex-A78AE"}
"""Names of ARM's cores by the part number in /proc/cpuinfo (ARM's MIDR_EL1 register)."""


@dataclass(frozen=True)
class Grid:
    """A country's electricity.

    Attributes:
        country: Name of the country.
        grams_per_kwh: Grams of CO2e for each kilowatt-hour.
    """

    country: str
    grams_per_kwh: float

    def grams(self, joules: float) -> float:
        """Return the grams of CO2e for some joules of electricity."""
        return joules / 3.6e6 * self.grams_per_kwh


@dataclass(frozen=True)
class Processor:
    """A processor, as the load model needs to know it.

    Attributes:
        model: The processor's name, as the kernel gives it.
        watts: Power under full load of all sockets together, in watts.
        known: Whether the table holds the processor; if not, `WATTS_PER_THREAD` was assumed.
    """

    model: str
    watts: float
    known: bool


def _table(path: str) -> Path | None:
    spec = find_spec("codecarbon")  # does not import it
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "data" / path
    return file if file.is_file() else None


@cache
def grid(country: str) -> Grid | None:
    """Return a country's electricity, or None if CodeCarbon is not installed.

    Args:
        country: The country's three-letter ISO code.

    Raises:
        BadInput: If the table does not hold the country.
    """
    file = _table("private_infra/global_energy_mix.json")
    if file is None:
        return None
    mix = json.loads(file.read_text(encoding="utf-8"))
    entry = mix.get(country.upper())
    if entry is None or entry.get("carbon_intensity") is None:
        raise BadInput(
            f"CodeCarbon has no carbon intensity for the country {country!r}: "
            "give the three-letter ISO code, such as USA, DEU or IND"
        )
    return Grid(entry["country_name"], float(entry["carbon_intensity"]))


def processor(cpuinfo: Path = Path("/proc/cpuinfo"), threads: int | None = None) -> Processor:
    """Return this machine's processor with the power that CodeCarbon's table gives for it.

    Args:
        cpuinfo: File with the kernel's description of the processors.
        threads: Number of the machine's hardware threads; None to ask the operating system.
    """
    threads = threads or os.cpu_count() or 1
    try:
        text = cpuinfo.read_text()
    except OSError:
        text = ""
    model = _model_name(text)
    sockets = len(set(re.findall(r"^physical id\s*:\s*(\d+)", text, re.MULTILINE))) or 1
    watts = table_watts(model)
    if watts is None:
        return Processor(model, WATTS_PER_THREAD * threads, known=False)
    return Processor(model, watts * sockets, known=True)


def _model_name(cpuinfo: str) -> str:
    named = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    if named:
        return named[1].strip()
    part = re.search(r"^CPU part\s*:\s*(\w+)", cpuinfo, re.MULTILINE)
    return _ARM_PARTS.get(part[1].lower(), f"ARM part {part[1]}") if part else "unknown processor"


def table_watts(model: str) -> float | None:
    """Return the thermal design power of one socket in watts, found by CodeCarbon's rule, or None.

    The rule (codecarbon.core.cpu.TDP) takes the entry with the same name; else the one with the same name without
    trademark, `CPU` and clock; else the only entry whose words are all in the name, or the other way round.

    Args:
        model: The processor's name, such as `Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz`.
    """
    file = _table("hardware/cpu_power.csv")
    if file is None:
        return None
    with file.open(newline="", encoding="utf-8") as rows:
        watts = {  # without the few rows that hold no number ("27.29.5")
            row["Name"]: float(w) for row in csv.DictReader(rows) if re.fullmatch(r"\d+(\.\d+)?", w := row["TDP"])
        }
    by_lower = {name.lower(): name for name in reversed(watts)}
    bare = re.sub(r" @\s*\d+\.\d+GHz", "", model.replace("(R)", "").split(" CPU @ ")[0].replace(" CPU", ""))
    for name in (model, bare):
        if name.lower() in by_lower:
            return watts[by_lower[name.lower()]]
    words = _words(bare)
    if not words:
        return None
    matches = [name for name in watts if (other := _words(name)) <= words or words <= other]
    return watts[matches[0]] if len(matches) == 1 else None


def _words(name: str) -> frozenset[str]:
    return frozenset(re.sub(r"\W", " ", name.lower()).split())
