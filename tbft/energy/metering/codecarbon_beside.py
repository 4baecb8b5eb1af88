"""CodeCarbon itself, running beside the meter: an independent figure, and the memory's watts.

Its tracker is offline: it opens no socket and writes no file. The processor and the carbon intensity are
handed to it, which spares its search for them (1.9 CPU-seconds, see `codecarbon_tables`).
"""

from __future__ import annotations

import os
from typing import Any

from tbft.energy.sensors.codecarbon_tables import Grid, Processor

_PERIOD_SECONDS = 1.0


def _import() -> Any:
    os.environ.setdefault("CODECARBON_LOG_LEVEL", "error")  # read when the package is imported
    import codecarbon

    return codecarbon


def ram_model() -> tuple[float, float] | None:
    """Returns watts and GiB of CodeCarbon's memory model for this machine, or None without CodeCarbon."""
    try:
        _import()
        from codecarbon.external.ram import RAM

        ram = RAM(tracking_mode="machine")
        return float(ram.total_power().W), float(ram.machine_memory_GB)
    except Exception:  # its psutil and scontrol calls raise what they like
        return None


class CodeCarbonBeside:
    """An `OfflineEmissionsTracker` for the length of a run."""

    def __init__(self, country: str, grid: Grid, processor: Processor) -> None:
        """Remembers what the tracker need not search for.

        Args:
            country: The three-letter ISO code.
            grid: The country's electricity.
            processor: The processor and its full-load power.
        """
        self._country, self._grid, self._processor = country, grid, processor
        self._tracker: Any = None

    def start(self) -> None:
        """Starts the tracker; call it before the clock runs.

        Raises:
            RuntimeError: If the tracker did not start.
        """
        codecarbon = _import()
        tracker = codecarbon.OfflineEmissionsTracker(
            country_iso_code=self._country.upper(),
            force_carbon_intensity_g_co2e_kwh=self._grid.grams_per_kwh,
            measure_power_secs=_PERIOD_SECONDS,
            output_methods=[],
            emissions_endpoint=None,
            electricitymaps_api_token=None,
            allow_multiple_runs=True,
            tracking_mode="machine",
            log_level="error",
        )
        _spare_detection(tracker, self._processor, self._grid)
        tracker.start()
        # The tracker's methods swallow every exception, so that its own word is needed.
        if getattr(tracker, "_start_time", None) is None:
            raise RuntimeError("CodeCarbon's tracker did not start")
        self._tracker = tracker

    def stop(self) -> dict[str, Any] | None:
        """Stops the tracker.

        Returns:
            CodeCarbon's own total for the whole run, idle baselines included: joules, grams of CO2e, the
            model behind them, its version; or None if it never ran or gave no figure.
        """
        tracker, self._tracker = self._tracker, None
        if tracker is None:
            return None
        tracker.stop()
        data = getattr(tracker, "final_emissions_data", None)
        if data is None:
            return None
        modes = [getattr(part, "_mode", None) for part in tracker._hardware]
        return {
            "joules": data.energy_consumed * 3.6e6,
            "co2e_grams": data.emissions * 1e3,
            "cpu": "model:" + ",".join(mode for mode in modes if mode),
            "seconds": data.duration,
            "version": data.codecarbon_version,
        }


def _spare_detection(tracker: Any, processor: Processor, grid: Grid) -> None:
    """Gives the tracker its list of hardware, as its own cache does for the second tracker of a process.

    A release without these attributes simply searches, which costs time and changes no figure of ours.
    """
    if getattr(tracker, "_hardware_initialized", None) is not False:
        return
    from codecarbon.external.hardware import CPU
    from codecarbon.external.ram import RAM

    tracker._populate_system_metadata()
    ram = RAM(tracking_mode="machine")
    tracker._conf.update(ram_total_size=ram.machine_memory_GB, cpu_model=processor.model, gpu_count=0, gpu_model="")
    cpu = CPU.from_utils(".", "cpu_load", processor.model, round(processor.watts), tracking_mode="machine")
    tracker._hardware = [ram, cpu]
    tracker._country_name = grid.country
    tracker._hardware_initialized = True
