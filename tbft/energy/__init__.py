"""Energy: power sources of a machine, and the meter that books their joules to the phases of a run.

`sensors` has one file for each kind of power source, `metering` books their readings to phases, and `survey` reports
which sources a machine has. Each of the three imports only those named before it, and none imports torch.
"""

from tbft.energy.metering.meter import EnergyMeter
from tbft.energy.metering.record import ADAPTATION
from tbft.energy.sensors.finder import find_sources
from tbft.energy.sensors.source import PowerSource

__all__ = ["ADAPTATION", "EnergyMeter", "PowerSource", "find_sources"]
