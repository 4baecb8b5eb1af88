"""Where there is no sensor: the models and what they assume, CodeCarbon beside, no connection, no heavy import."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from energy_world import CURVES, World

from tbft.energy import EnergyMeter
from tbft.energy.sensors.codecarbon_tables import Processor, processor
from tbft.energy.sensors.load_model import CpuLoadModel
from tbft.errors import BadInput


def test_without_a_sensor_the_model_says_what_it_assumes(tmp_path: Path) -> None:
    from codecarbon.external.ram import RAM

    meter = EnergyMeter(sysfs=tmp_path, vcgencmd="no-such-program", country="DEU")
    meter.start()
    with meter.phase("train"):
        used = time.process_time() + 0.3
        while time.process_time() < used:
            pass
    meter.stop()
    record = meter.record()
    source = record["energy_source"]
    assert source["measured"] is False
    assert source["cpu"] == "model:cpu_load"
    assert source["ram"].startswith("model:")
    text = " ".join(source["notes"])
    assert "0.1 + 0.9 load^3" in text and "W" in text and "not measured" in text
    assert 0.3 <= record["cpu_seconds"]["train"] < 0.6
    grams = record["joules"]["adaptation"] / 3.6e6 * 380.95  # Germany, in CodeCarbon's table
    assert record["co2e_grams"] == pytest.approx(grams, rel=0.01)
    # CodeCarbon's own tracker runs beside with the same two models: from an idle processor to a busy one.
    cpu, ram = processor().watts, RAM(tracking_mode="machine").total_power().W
    for watts in (
        record["codecarbon"]["joules"] / record["codecarbon"]["seconds"],
        record["joules"]["train"] / record["wall_seconds"]["train"],
    ):
        assert 0.99 * (0.1 * cpu + ram) <= watts <= 1.01 * (cpu + ram)


def model_and_counters() -> tuple[CpuLoadModel, tuple[list[float], list[float], list[float]]]:
    """A model of 10 W on 4 threads, and the seconds that it reads: the clock's, its own, all programs'."""
    now, own, busy = [0.0], [0.0], [0.0]
    model = CpuLoadModel(
        Processor("some CPU", 10.0, known=True),
        threads=4,
        clock=lambda: now[0],
        own_seconds=lambda: own[0],
        busy_seconds=lambda: busy[0],
    )
    return model, (now, own, busy)


def test_the_load_model_is_codecarbons_formula_cut_at_the_readings() -> None:
    model, (now, own, busy) = model_and_counters()
    expected, load_before = 0.0, 0.0
    for seconds, mine, others in ((1.0, 4, 0), (0.2, 0, 0), (1.0, 2, 1), (1.0, 2, 1)):
        now[0] += seconds
        own[0] += mine * seconds
        busy[0] += (mine + others) * seconds
        load_before = others if seconds >= 1.0 else load_before
        expected += 10.0 * (0.1 + 0.9 * ((mine + load_before) / 4) ** 3) * seconds
        assert model.read() == pytest.approx(expected, rel=0.05)


def test_other_programs_count_from_the_first_moment_once_their_load_is_known() -> None:
    model, (now, own, busy) = model_and_counters()
    read, expected = [], 0.0
    for mine in (1, 0, 2, 1, 1):  # beside two threads of other programs
        now[0] += 0.06
        own[0] += mine * 0.06
        busy[0] += (mine + 2) * 0.06
        expected += 10.0 * (0.1 + 0.9 * ((mine + 2) / 4) ** 3) * 0.06
        read.append(model.read())
    assert read[-1] == pytest.approx(expected) and read == sorted(read)
    assert read[0] == pytest.approx(10.0 * (0.1 + 0.9 * (1 / 4) ** 3) * 0.06)  # which is known at once: its own


def test_an_unknown_country_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="three-letter ISO code"):
        World(tmp_path, CURVES["constant"][0]).meter(country="Atlantis")


def test_the_whole_run_opens_no_connection_and_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_connection(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse_connection)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_connection)
    monkeypatch.chdir(tmp_path)
    meter = EnergyMeter(sysfs=tmp_path, vcgencmd="no-such-program")
    meter.start()
    with meter.phase("train"):
        time.sleep(0.1)
    meter.stop()
    assert meter.record()["codecarbon"] is not None
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, tbft.energy; "
        "print([m for m in ('codecarbon', 'torch', 'pandas', 'matplotlib', 'rich') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_tables_are_read_whatever_the_locale_encodes() -> None:
    program = (
        "from tbft.energy.sensors.codecarbon_tables import table_watts\n"
        "assert table_watts('Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz') == 65\n"
    )
    ascii_alone = {"LC_ALL": "C", "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run([sys.executable, "-X", "utf8=0", "-c", program], check=True, env=ascii_alone, timeout=60)
