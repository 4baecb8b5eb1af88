"""What goes wrong during a run: sensors that fail, hang or lie, silence, throttling, a lost device."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from energy_world import CURVES, World, program
from test_energy_sensors import PLAIN

from tbft.energy import EnergyMeter


def vanish(world: World) -> None:
    world.sensor.unlink()


def read_nothing(world: World) -> None:
    world.watts = lambda t: 0.0


def read_negative(world: World) -> None:
    world.watts = lambda t: -3.0


def overflow(world: World) -> None:
    world.watts = lambda t: 2**31 / 1e6


def change_to_milliwatts(world: World) -> None:
    world.watts = lambda t: 5.0e-3


def change_to_nanowatts(world: World) -> None:
    world.watts = lambda t: 5.0e3


def refuse(world: World) -> None:
    world.sensor.unlink()
    world.sensor.mkdir()  # reading fails with an operating system error


@pytest.mark.parametrize(
    "harm",
    [vanish, read_nothing, read_negative, overflow, change_to_milliwatts, change_to_nanowatts, refuse],
)
def test_a_failing_sensor_hands_over_and_the_record_says_when(tmp_path: Path, harm: Callable[[World], None]) -> None:
    world = World(tmp_path, CURVES["constant"][0], rapl=lambda t: 2.0 * t)
    meter = world.meter()
    meter.enter("train")
    world.until(10.0)
    harm(world)
    if not world.sensor.is_dir():
        world.play()
    else:
        world.play = lambda: world.counter.write_text(f"{2.0 * world.now * 1e6:.0f}")  # type: ignore[method-assign]
    world.until(20.0)
    meter.stop()
    record = meter.record()
    source = record["energy_source"]
    # 10 s of 5 W from the sensor, then 10 s of 2 W from the counter that stood by: no gap, no nonsense.
    assert record["joules"]["train"] == pytest.approx(50.0 + 20.0, rel=0.01)
    assert source["cpu"] == "rapl"
    spans = {(s["source"], round(s["from_seconds"]), round(s["to_seconds"])) for s in source["spans"]}
    assert ("hwmon:ina219", 0, 10) in spans
    assert ("rapl", 10, 20) in spans
    assert any(note.startswith("from 10.0 s on: hwmon:ina219 lost") for note in source["notes"])


def test_after_the_last_sensor_the_model_counts_and_nothing_claims_to_be_measured(tmp_path: Path) -> None:
    world = World(tmp_path, CURVES["constant"][0])
    meter = world.meter()
    meter.enter("train")
    world.until(5.0)
    vanish(world)
    world.until(10.0)
    meter.stop()
    source = meter.record()["energy_source"]
    assert source["cpu"] == "model:cpu_load"
    assert source["measured"] is False
    assert any("not measured" in note for note in source["notes"])


def test_a_single_spike_is_dropped_but_a_step_is_not(tmp_path: Path) -> None:
    # One reading of 90 W at 3 s; from 6 s on the load is really 50 W.
    world = World(tmp_path, lambda t: 90.0 if 2.95 < t < 3.05 else 5.0 if t < 6.0 else 50.0)
    meter = world.meter()
    with meter.phase("train"):
        world.until(5.0)
    with meter.phase("validate"):
        world.until(10.0)
    meter.stop()
    record = meter.record()
    assert record["joules"]["train"] == pytest.approx(25.0)
    assert record["joules"]["validate"] == pytest.approx(5.0 + 200.0, rel=0.02)
    assert any("1 readings dropped" in note for note in record["energy_source"]["notes"])


def test_a_garbled_reading_now_and_then_does_not_lose_the_sensor(tmp_path: Path) -> None:
    world = World(tmp_path, lambda t: -1.0 if round(t * 10) % 7 == 3 else 5.0)
    meter = world.meter()
    with meter.phase("train"):
        world.until(10.0)
    meter.stop()
    record = meter.record()
    assert record["joules"]["train"] == pytest.approx(50.0)
    assert record["energy_source"]["cpu"] == "hwmon:ina219"


def test_a_long_silence_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, CURVES["constant"][0])
    meter = world.meter()
    meter.enter("train")
    world.until(1.0)
    world.sleep(30.0)
    world.until(32.0)
    meter.stop()
    assert any("no reading for 30.1 s" in note for note in meter.record()["energy_source"]["notes"])


def test_a_hanging_vcgencmd_does_not_hold_up_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tbft.energy.sensors.vcgencmd.TIMEOUT_SECONDS", 60.0)
    (tmp_path / "answer").write_text(PLAIN)
    hang, hanging = tmp_path / "hang", tmp_path / "hanging"
    vcgencmd = program(
        tmp_path / "vcgencmd",
        f'[ "$1" = pmic_read_adc ] || exit 1\n'
        f"if [ -e {hang} ]; then touch {hanging}; while [ -e {hang} ]; do sleep 0.02; done; fi\n"
        f"cat {tmp_path}/answer",
    )
    meter = EnergyMeter(codecarbon=False, sysfs=tmp_path, vcgencmd=vcgencmd)
    meter.start()
    with meter.phase("train"):
        hang.touch()
        began = time.monotonic()
        while not hanging.exists() and time.monotonic() - began < 30.0:
            time.sleep(0.01)
        assert hanging.exists()
        for _ in range(100):
            with meter.phase("validate"):
                meter.joules_so_far()
        assert time.monotonic() - began < 50.0, "the run waited for the reading"
        hang.unlink()
    meter.stop()
    assert meter.record()["energy_source"]["cpu"] == "pmic"


def test_a_vcgencmd_that_keeps_hanging_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "answer").write_text(PLAIN)
    vcgencmd = program(
        tmp_path / "vcgencmd",
        f'[ "$1" = pmic_read_adc ] || exit 1\n[ -e {tmp_path}/hang ] && exec sleep 30\ncat {tmp_path}/answer',
    )
    meter = EnergyMeter(codecarbon=False, sysfs=tmp_path, vcgencmd=vcgencmd, background=False)
    meter.start()
    (tmp_path / "hang").touch()
    monkeypatch.setattr("tbft.energy.sensors.vcgencmd.TIMEOUT_SECONDS", 0.05)
    for _ in range(3):
        meter.sample()
    meter.stop()
    source = meter.record()["energy_source"]
    assert source["cpu"] == "model:cpu_load"
    assert any("pmic lost: " in note and "did not answer within 0.05 s" in note for note in source["notes"])


@pytest.mark.parametrize(
    ("before", "after", "void"),
    [
        (0x0, 0x0, None),
        (0x50000, 0x50000, None),  # long before the run
        (0x0, 0x40000, "throttled"),  # during the run, over by its end
        (0x0, 0x80008, "soft temperature limit"),
        (0x50005, 0x50005, "supply voltage too low, throttled"),
    ],
)
def test_a_throttled_run_is_void(tmp_path: Path, before: int, after: int, void: str | None) -> None:
    (tmp_path / "flags").write_text(f"throttled={before:#x}")
    vcgencmd = program(tmp_path / "vcgencmd", f'[ "$1" = get_throttled ] && cat {tmp_path}/flags')
    world = World(tmp_path, CURVES["constant"][0])
    meter = world.meter(vcgencmd=vcgencmd)
    (tmp_path / "flags").write_text(f"throttled={after:#x}")
    world.until(1.0)
    meter.stop()
    record = meter.record()
    assert record["conditions"]["before"]["throttled"] == hex(before)
    if void is None:
        assert record["void"] is None
    else:
        assert void in record["void"]


def test_a_failing_synchronisation_does_not_stop_the_run(tmp_path: Path) -> None:
    def broken() -> None:
        raise RuntimeError("device lost")

    meter = World(tmp_path, CURVES["constant"][0]).meter(synchronize=broken)
    meter.enter("train")
    meter.stop()
    meter.stop()
    assert any("device lost" in note for note in meter.record()["energy_source"]["notes"])
