"""Metering: readings over time, booked as joules, CPU-seconds and seconds to the phases of a run."""
