"""Energy: power sources of a machine, and the meter that books their joules to the phases of a run."""

from tbft.energy.finder import find_sources
from tbft.energy.meter import EnergyMeter
from tbft.energy.source import PowerSource

__all__ = ["EnergyMeter", "PowerSource", "find_sources"]
