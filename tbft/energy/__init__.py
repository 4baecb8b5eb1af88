"""Energy: power sources of a machine, and the meter that books their joules to the phases of a run.

`sensors` reads one source each, `metering` books what they read to phases, `survey` shows what a machine has. The
rooms depend on one another in this order only, and none of them imports torch.
"""

from tbft.energy.metering.meter import EnergyMeter
from tbft.energy.metering.record import ADAPTATION
from tbft.energy.sensors.finder import find_sources
from tbft.energy.sensors.source import PowerSource

__all__ = ["ADAPTATION", "EnergyMeter", "PowerSource", "find_sources"]
