"""The meter itself: its thread, its own cost, several threads that ask it, and other programs beside it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from energy_world import CURVES, World, program
from test_energy_sensors import PLAIN

from tbft.energy import EnergyMeter
from tbft.energy.metering.core_use import CoreUse, available_cores
from tbft.energy.metering.pace import Pace
from tbft.energy.sensors.cpu_time import process_cpu_seconds


def test_a_thread_that_asks_the_time_and_is_then_kept_waiting_shifts_nobodys_clock(tmp_path: Path) -> None:
    now, has_read, may_go_on = [0.0], threading.Event(), threading.Event()

    def clock() -> float:
        moment = now[0]
        if threading.current_thread().name == "slow":
            has_read.set()
            may_go_on.wait(30.0)
        return moment

    meter = EnergyMeter(codecarbon=False, sysfs=tmp_path, vcgencmd="no-such-program", background=False, clock=clock)
    slow = threading.Thread(target=meter.seconds_so_far, name="slow")
    meter.start()
    with meter.phase("train"):
        now[0] = 5.0
        slow.start()
        assert has_read.wait(30.0)
        now[0] = 7.0
        assert meter.seconds_so_far() == pytest.approx(7.0)
        may_go_on.set()
        slow.join()
        now[0] = 10.0
    meter.stop()
    record = meter.record()
    assert record["wall_seconds"]["train"] == pytest.approx(10.0)
    assert not [note for note in record["energy_source"]["notes"] if "clock" in note]


def test_the_thread_takes_readings_and_says_what_they_cost(tmp_path: Path) -> None:
    World(tmp_path, CURVES["constant"][0])
    cpu = process_cpu_seconds()
    meter = EnergyMeter(codecarbon=False, sysfs=tmp_path, vcgencmd="no-such-program")
    meter.start()
    first = meter.record()["sampling"]["readings"]
    until = time.monotonic() + 30.0
    while meter.record()["sampling"]["readings"] < first + 3 and time.monotonic() < until:
        time.sleep(0.02)
    meter.stop()
    sampling = meter.record()["sampling"]
    assert sampling["readings"] >= first + 3
    assert 0.0 < sampling["cpu_seconds"] <= process_cpu_seconds() - cpu


@pytest.mark.parametrize("cost", [1e-5, 5e-4, 0.02, 0.5])
def test_a_source_never_costs_a_hundredth_of_a_core(cost: float) -> None:
    pace, now, readings = Pace(0.1), 0.0, 0
    while readings < 100:
        now = max(now, pace.due)
        pace.was_read(now, cost)
        readings += 1
    assert readings * cost / pace.due < 0.01
    assert pace.slowed == (cost > 1e-2)


def test_a_source_that_starts_a_program_is_read_less_often_and_the_record_says_so(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(PLAIN)
    vcgencmd = program(tmp_path / "vcgencmd", f'[ "$1" = pmic_read_adc ] && cat {tmp_path}/answer')
    meter = EnergyMeter(codecarbon=False, sysfs=tmp_path, vcgencmd=vcgencmd, background=False, rate_hz=100.0)
    meter.start()
    with meter.phase("train"):
        for _ in range(5):
            meter.sample()
    meter.stop()
    source = meter.record()["energy_source"]
    assert source["cpu"] == "pmic"
    assert any("readings a second" in note for note in source["notes"])


@pytest.mark.parametrize(
    ("threads", "others", "inflated"),
    [
        (1, 5.0, False),  # a single thread waits for nobody
        (available_cores() + 1, 0.05, False),  # other programs do next to nothing
        (available_cores() + 1, 0.5, True),
        (available_cores() + 1, 40.0, True),
    ],
)
def test_cpu_seconds_of_threads_that_spin_beside_other_programs_are_marked(
    threads: int, others: float, inflated: bool
) -> None:
    start = CoreUse(machine_seconds=100.0, own_seconds=5.0, switches=7)
    end = CoreUse(machine_seconds=100.0 + 10.0 * (1.5 + others), own_seconds=20.0, switches=9)
    load = end.since(start, 10.0, threads)
    assert load["own_threads"] == pytest.approx(1.5)
    assert load["other_programs_threads"] == pytest.approx(others)
    assert load["involuntary_switches"] == 2
    assert load["cpu_seconds_inflated"] is inflated


def test_the_record_tells_who_kept_the_cores_busy(tmp_path: Path) -> None:
    meter = World(tmp_path, CURVES["constant"][0]).meter(threads=3)
    meter.stop()
    conditions = meter.record()["conditions"]
    assert conditions["computing_threads"] == 3
    assert {"own_threads", "other_programs_threads", "involuntary_switches", "cpu_seconds_inflated"} <= set(conditions)
