"""CodeCarbon's own tracker beside the meter, for an independent figure, and its model of the memory's power.

The tracker is offline: it opens no socket and writes no file. It is given the processor and the carbon intensity,
which saves its search for them (1.9 CPU-seconds, see `codecarbon_tables`).
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
    """Return the watts and the GiB of this machine's memory by CodeCarbon's model, or None if the model fails."""
    try:
        _import()
        from codecarbon.external.ram import RAM

        ram = RAM(tracking_mode="machine")
        return float(ram.total_power().W), float(ram.machine_memory_GB)
    except Exception:  # CodeCarbon is missing, or its calls of psutil and scontrol raise anything
        return None


class CodeCarbonBeside:
    """CodeCarbon's `OfflineEmissionsTracker`, running for the length of a run."""

    def __init__(self, country: str, grid: Grid, processor: Processor) -> None:
        """Keep what the tracker would otherwise search for; nothing starts yet.

        Args:
            country: The country's three-letter ISO code.
            grid: The country's electricity.
            processor: The processor and its full-load power.
        """
        self._country, self._grid, self._processor = country, grid, processor
        self._tracker: Any = None

    def start(self) -> None:
        """Start the tracker; call this before the meter's clock starts.

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
        # The tracker's methods swallow every exception: its start time tells whether it started.
        if getattr(tracker, "_start_time", None) is None:
            raise RuntimeError("CodeCarbon's tracker did not start")
        self._tracker = tracker

    def stop(self) -> dict[str, Any] | None:
        """Stop the tracker.

        Returns:
            CodeCarbon's own total for the whole run, idle baselines included: `joules`, `co2e_grams`, `cpu` (the
            models behind them), `seconds` and CodeCarbon's `version`; None if it never ran or gave no figure.
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
    """Give the tracker its list of hardware, as CodeCarbon's cache does for the second tracker of a process.

    A release of CodeCarbon without these attributes searches for the hardware, which costs time and changes no figure
    of the meter.
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
