"""Every kind of power source, read from fake sysfs trees, a fake `vcgencmd` and a fake NVML."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from energy_world import chip, powercap, program, write

from tbft.energy import find_sources
from tbft.energy.sensors import hwmon, nvml, rapl
from tbft.energy.sensors.pmic import PmicSource, rail_watts
from tbft.energy.sensors.source import SensorFault
from tbft.errors import BadInput

PARENTHESES = """\
 3V7_WL_SW_A current(0)=0.10000000A
  VDD_CORE_A current(7)=2.00000000A
      HDMI_A current(22)=0.01000000A
 3V7_WL_SW_V volt(8)=3.70000000V
  VDD_CORE_V volt(15)=0.80000000V
     EXT5V_V volt(24)=5.10000000V
      BATT_V volt(25)=0.00000000V
"""
PLAIN = """\
3V7_WL_SW_V=3.70000000V
3V7_WL_SW_A=0.10000000A
VDD_CORE_V=0.80000000V
VDD_CORE_A=2.00000000A
EXT5V_V=5.10000000V
"""


def test_an_ina219_reads_microwatts(tmp_path: Path) -> None:
    chip(tmp_path, 0, "cpu_thermal", temp1_input=50000)
    chip(tmp_path, 1, "ina219", power1_input=4_250_000)
    (source,) = hwmon.find(tmp_path)
    assert (source.name, source.covers, source.measured) == ("hwmon:ina219", "board", True)
    assert source.read() == pytest.approx(4.25)


def test_a_wrong_shunt_in_the_driver_is_corrected(tmp_path: Path) -> None:
    # The driver believes in 10 milliohm, the board has 100: amperes and watts come out ten times too large.
    chip(tmp_path, 1, "ina219", power1_input=42_500_000, shunt_resistor=10_000)
    (source,) = hwmon.find(tmp_path, shunt_ohms=0.1)
    assert source.read() == pytest.approx(4.25)


def test_jetson_rails_behind_the_input_are_not_counted_twice(tmp_path: Path) -> None:
    chip(
        tmp_path,
        3,
        "ina3221",
        in1_label="VDD_IN",
        in1_input=5000,
        curr1_input=1500,
        in2_label="VDD_CPU_GPU_CV",
        in2_input=5000,
        curr2_input=600,
        in3_label="VDD_SOC",
        in3_input=5000,
        curr3_input=300,
        in4_input=8,  # shunt voltage of the first channel
        curr4_input=2400,  # sum of the three currents
    )
    (source,) = hwmon.find(tmp_path)
    assert source.read() == pytest.approx(5.0 * 1.5)
    assert "VDD_IN" in source.note
    (cpu_gpu,) = hwmon.find(tmp_path, rail="VDD_CPU_GPU_CV")
    assert cpu_gpu.read() == pytest.approx(5.0 * 0.6)


def test_rails_without_a_common_input_are_added_and_named(tmp_path: Path) -> None:
    chip(tmp_path, 0, "ina3221", in1_input=5000, curr1_input=100, in2_input=3300, curr2_input=1000)
    (source,) = hwmon.find(tmp_path)
    assert source.read() == pytest.approx(0.5 + 3.3)
    assert "in1 + in2" in source.note


def test_one_of_two_equal_chips_is_chosen_by_its_bus_address(tmp_path: Path) -> None:
    for number, bus, microwatts in ((0, "1-0040", 3_000_000), (1, "1-0041", 7_000_000)):
        folder = chip(tmp_path, number, "ina219", power1_input=microwatts)
        device = write(tmp_path / "devices" / bus)
        (folder / "device").symlink_to(device)
    assert [source.read() for source in hwmon.find(tmp_path)] == pytest.approx([3.0, 7.0])
    assert "2 board sensors" in hwmon.find(tmp_path)[0].note
    assert [source.read() for source in hwmon.find(tmp_path, rail="1-0041")] == pytest.approx([7.0])


def test_amd_graphics_cover_the_gpu_only(tmp_path: Path) -> None:
    chip(tmp_path, 0, "amdgpu", power1_average=30_000_000)
    assert [(source.covers, source.read()) for source in hwmon.find(tmp_path)] == [("gpu", pytest.approx(30.0))]


def test_chips_that_measure_no_supply_are_left_alone(tmp_path: Path) -> None:
    chip(tmp_path, 0, "BAT0", in0_input=12000, curr1_input=900, in1_input=12000)
    chip(tmp_path, 1, "nvme", temp1_input=40000)
    assert hwmon.find(tmp_path) == []


@pytest.mark.parametrize("answer", [PARENTHESES, PLAIN])
def test_both_formats_of_the_pmic_give_the_same_watts(answer: str) -> None:
    assert sum(rail_watts(answer).values()) == pytest.approx(3.7 * 0.1 + 0.8 * 2.0)


def test_the_pmic_reads_through_the_program(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(PARENTHESES)
    vcgencmd = program(tmp_path / "vcgencmd", f"cat {tmp_path / 'answer'}")
    assert PmicSource(vcgencmd).read() == pytest.approx(1.97)
    core = PmicSource(vcgencmd, rail="VDD_CORE")
    assert (core.covers, core.read()) == ("cpu", pytest.approx(1.6))
    with pytest.raises(SensorFault, match="no rail VDD_NONE"):
        PmicSource(vcgencmd, rail="VDD_NONE")


@pytest.mark.parametrize(
    "shell",
    ["echo 'error=1 error_msg=\"Command not registered\"'", "echo VCHI initialization failed >&2; exit 255"],
)
def test_a_pi_without_the_pmic_has_no_such_source(tmp_path: Path, shell: str) -> None:
    with pytest.raises(SensorFault):
        PmicSource(program(tmp_path / "vcgencmd", shell))


def test_a_hanging_program_is_given_up_after_its_timeout(tmp_path: Path) -> None:
    vcgencmd = program(tmp_path / "vcgencmd", "exec sleep 30")
    began = time.monotonic()
    with pytest.raises(SensorFault, match="did not answer"):
        PmicSource(vcgencmd)
    assert time.monotonic() - began < 5


def test_rapl_adds_the_packages_and_keeps_the_memory_apart(tmp_path: Path) -> None:
    powercap(tmp_path, "intel-rapl:0", "package-0", 10)
    powercap(tmp_path, "intel-rapl:1", "package-1", 20)
    powercap(tmp_path, "intel-rapl:2", "psys", 500)
    powercap(tmp_path, "intel-rapl-mmio:0", "package-0", 10)
    powercap(tmp_path, "intel-rapl:0/intel-rapl:0:0", "core", 7)
    powercap(tmp_path, "intel-rapl:0/intel-rapl:0:1", "dram", 3)
    cpu, ram = rapl.find(tmp_path)
    assert (cpu.covers, cpu.read()) == ("cpu", pytest.approx(30))
    assert (ram.covers, ram.read()) == ("ram", pytest.approx(3))


def test_rapl_counts_on_across_its_wrap_around(tmp_path: Path) -> None:
    zone = powercap(tmp_path, "intel-rapl:0", "package-0", 990)
    (source,) = rapl.find(tmp_path)
    start = source.read()
    for joules in (995, 5, 900, 15):
        (zone / "energy_uj").write_text(f"{round(joules * 1e6)}")
        end = source.read()
    assert end - start == pytest.approx(5 + 10 + 895 + 115)


def test_a_counter_that_was_reset_is_no_wrap_around(tmp_path: Path) -> None:
    zone = powercap(tmp_path, "intel-rapl:0", "package-0", 300)
    (source,) = rapl.find(tmp_path)
    (zone / "energy_uj").write_text("0")
    with pytest.raises(SensorFault, match="went back"):
        source.read()


class FakeNvml:
    """Two devices; the counter can be missing, as before Volta."""

    NVMLError = RuntimeError

    def __init__(self, counter: bool) -> None:
        self.counter = counter

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(millijoules=1000 * (index + 1), milliwatts=50_000 * (index + 1))

    def nvmlDeviceGetTotalEnergyConsumption(self, device: SimpleNamespace) -> int:  # noqa: N802
        if not self.counter:
            raise self.NVMLError("Not Supported")
        return device.millijoules

    def nvmlDeviceGetPowerUsage(self, device: SimpleNamespace) -> int:  # noqa: N802
        return device.milliwatts


def test_nvml_counts_joules_or_else_samples_watts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (counter,) = nvml.find(FakeNvml(counter=True))
    assert (counter.unit, counter.read()) == ("joules", pytest.approx(3.0))
    (sampled,) = nvml.find(FakeNvml(counter=False))
    assert (sampled.unit, sampled.read()) == ("watts", pytest.approx(150.0))


@pytest.mark.parametrize(("visible", "joules"), [("1", [2.0]), ("-1", []), ("", [])])
def test_nvml_counts_only_the_devices_that_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch, visible: str, joules: list[float]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [source.read() for source in nvml.find(FakeNvml(counter=True))] == joules


def test_sources_are_found_in_the_order_of_trust(tmp_path: Path) -> None:
    chip(tmp_path, 0, "ina226", power1_input=4_000_000)
    powercap(tmp_path, "intel-rapl:0", "package-0", 1)
    (tmp_path / "answer").write_text(PLAIN)
    vcgencmd = program(tmp_path / "vcgencmd", f"cat {tmp_path / 'answer'}")
    names = [source.name for source in find_sources(sysfs=tmp_path, vcgencmd=vcgencmd)]
    assert names[:3] == ["hwmon:ina226", "pmic", "rapl"]
    chosen = find_sources(["rapl", "hwmon"], sysfs=tmp_path, vcgencmd=vcgencmd)
    assert [source.name for source in chosen] == ["rapl", "hwmon:ina226"]


def test_asking_for_a_source_that_is_not_there_says_what_is(tmp_path: Path) -> None:
    chip(tmp_path, 0, "ina219", power1_input=4_000_000)
    with pytest.raises(BadInput, match=r"no power source 'pmic'.*found: hwmon:ina219"):
        find_sources("pmic", sysfs=tmp_path, vcgencmd="no-such-program")
    with pytest.raises(BadInput, match="no power sensor has a rail"):
        find_sources("auto", rail="VDD_NONE", sysfs=tmp_path, vcgencmd="no-such-program")
