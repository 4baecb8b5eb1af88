"""What people see of the energy: the survey of `python -m tbft meter`, the plot; and CodeCarbon's tables behind it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from energy_world import CURVES, World, chip, powercap, program, write
from rich.console import Console

from tbft.energy.metering.power_plot import bands, plot_power, source_title
from tbft.energy.sensors.codecarbon_tables import processor, table_watts
from tbft.energy.survey.advice import advise
from tbft.energy.survey.report import main_meter, survey


def printed(renderable: object) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_survey_shows_what_each_source_covers_and_reads(tmp_path: Path) -> None:
    chip(tmp_path, 0, "ina219", power1_input=4_250_000)
    powercap(tmp_path, "intel-rapl:0", "package-0", 1.0)
    text = printed(survey(0.3, sysfs=tmp_path, vcgencmd="no-such-program"))
    sensor = next(line for line in text.splitlines() if "hwmon:ina219" in line)
    assert "board" in sensor and "measured" in sensor and "4.25 W" in sensor and "yes" in sensor
    model = next(line for line in text.splitlines() if "model:cpu_load" in line)
    assert "modelled" in model and "stands by" in model


def test_the_survey_tells_the_sensor_that_reads_nonsense(tmp_path: Path) -> None:
    chip(tmp_path, 0, "ina219", power1_input=-5)
    text = printed(survey(0.3, sysfs=tmp_path, vcgencmd="no-such-program"))
    sensor = next(line for line in text.splitlines() if "hwmon:ina219" in line)
    assert "outside" in sensor and "measured" not in sensor


def test_closed_rapl_counters_get_the_command_that_opens_them(tmp_path: Path) -> None:
    zone = powercap(tmp_path, "intel-rapl:0", "package-0", 1.0)
    (zone / "energy_uj").unlink()
    (zone / "energy_uj").mkdir()  # unreadable for root too
    (advice,) = advise([], tmp_path, "no-such-program", tmp_path)
    assert "RAPL" in advice.what
    assert advice.commands[0] == "sudo chmod -R a+r /sys/class/powercap/intel-rapl"
    assert any("udev" in command for command in advice.commands)


@pytest.mark.parametrize(
    ("model", "vcgencmd", "files", "expected"),
    [
        ("Raspberry Pi 5 Model B", False, [], "raspi-utils"),
        ("Raspberry Pi 5 Model B", True, [".dockerenv"], "docker run --device /dev/vcio"),
        ("Raspberry Pi 4 Model B", True, ["dev/vcio"], "dtoverlay=i2c-sensor,ina219"),
        ("NVIDIA Jetson Orin Nano", False, [], "modprobe ina3221"),
    ],
)
def test_a_board_gets_the_command_for_what_it_lacks(
    tmp_path: Path, model: str, vcgencmd: bool, files: list[str], expected: str
) -> None:
    # Containers hide /sys/firmware; there, the kernel's description of the processors names the board.
    if ".dockerenv" in files:
        write(tmp_path / "proc", cpuinfo=f"CPU part\t: 0xd0b\n\nModel\t\t: {model} Rev 1.0")
    else:
        write(tmp_path / "firmware" / "devicetree" / "base", model=model + "\0")
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    name = program(tmp_path / "vcgencmd", "exit 1") if vcgencmd else "no-such-program"
    commands = [command for r in advise([], tmp_path, name, tmp_path) for command in r.commands]
    assert any(expected in command for command in commands), commands


@pytest.mark.parametrize(("machine", "commands"), [("x86_64", 1), ("aarch64", 0)])
def test_only_processors_that_have_rapl_are_told_to_load_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, commands: int
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("tbft.energy.survey.advice._nvidia", lambda *args: [])
    (advice,) = advise([], tmp_path, "no-such-program", tmp_path)
    assert "no power sensor" in advice.what and len(advice.commands) == commands


def test_the_command_prints_the_survey_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    main_meter(0.2)
    assert "model:cpu_load" in capsys.readouterr().out


def test_the_plot_is_a_picture_and_its_title_says_what_was_measured(tmp_path: Path) -> None:
    world = World(tmp_path, CURVES["square"][0])
    meter = world.meter()
    with meter.phase("train"):
        world.until(5.0)
        world.sensor.unlink()
        world.until(8.0)
    meter.stop()
    path = tmp_path / "plots" / "power.png"
    plot_power(meter, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    title = source_title(meter.record()["energy_source"])
    assert "measured (hwmon:ina219)" in title
    assert "modelled, not measured (model:cpu_load" in title


def test_the_bands_of_the_plot_are_the_phases(tmp_path: Path) -> None:
    world = World(tmp_path, CURVES["constant"][0])
    meter = world.meter()
    with meter.phase("train"):
        world.sleep(2.0)
        with meter.phase("validate"):
            world.sleep(1.0)
        world.sleep(2.0)
    world.sleep(1.0)
    with meter.phase("test"):
        world.sleep(1.0)
    meter.stop()
    assert bands(meter.trace()) == [
        ("train", 0.0, pytest.approx(2.0)),
        ("validate", pytest.approx(2.0), pytest.approx(3.0)),
        ("train", pytest.approx(3.0), pytest.approx(5.0)),
        ("test", pytest.approx(6.0), pytest.approx(7.0)),
    ]


@pytest.mark.parametrize(
    "model",
    [
        "AMD EPYC",
        "AMD EPYC 9124 16-Core Processor",
        "AMD Ryzen 7 5800X 8-Core Processor",
        "Cortex-A76",
        "Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz",
        "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz",
        "12th Gen Intel(R) Core(TM) i5-12400",
        "no such processor",
    ],
)
def test_the_design_power_is_the_one_that_codecarbon_would_look_up(model: str) -> None:
    from codecarbon.core.cpu import TDP

    theirs = TDP.__new__(TDP)._get_cpu_power_from_registry(model)
    assert table_watts(model) == theirs


def test_the_processor_is_read_from_the_kernels_description(tmp_path: Path) -> None:
    pi5 = tmp_path / "pi5"
    pi5.write_text("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n")
    assert (processor(pi5, 4).model, processor(pi5, 4).watts) == ("Cortex-A76", 12.0)
    two_sockets = tmp_path / "xeon"
    two_sockets.write_text(
        "".join(f"model name\t: Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz\nphysical id\t: {i}\n" for i in (0, 1))
    )
    assert processor(two_sockets, 80).watts == 2 * 150.0
    unknown = processor(tmp_path / "nothing", 6)
    assert (unknown.watts, unknown.known) == (24.0, False)
