"""Advice on how this machine could measure better: what is missing, and the commands that help."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tbft.energy.sensors.rapl import zone_folders
from tbft.energy.sensors.source import PowerSource, SensorFault
from tbft.energy.sensors.sysfs import numbered, read_number, read_text
from tbft.energy.sensors.vcgencmd import ask

_FIRMWARE_DEVICE = "/dev/vcio"


@dataclass(frozen=True)
class Advice:
    """Something that is missing, and the commands that help.

    Attributes:
        what: A sentence on what is missing and what it would bring.
        commands: Lines for a shell, in order; empty if no command helps.
    """

    what: str
    commands: tuple[str, ...] = ()


def advise(
    sources: Sequence[PowerSource],
    sysfs: Path = Path("/sys"),
    vcgencmd: str = "vcgencmd",
    root: Path = Path("/"),
) -> list[Advice]:
    """Return advice on better figures for this machine, the most useful first.

    Args:
        sources: The power sources that were found.
        sysfs: The folder /sys, or a stand-in for it.
        vcgencmd: Name or path of the Raspberry Pi's `vcgencmd`.
        root: The root folder of the other system files, or a stand-in for it.
    """
    names = {source.name for source in sources}
    board = any(source.covers == "board" for source in sources)
    model = _board_model(sysfs, root)
    found = [
        *(_raspberry_pi(model, names, vcgencmd, root) if model.startswith("Raspberry Pi") else []),
        *_rapl(sysfs, names),
        *_nvidia(names, root),
    ]
    if model and not any(name.startswith("hwmon:") for name in names):
        found.append(_current_sensor(sysfs, model))
    if not found and not board and "rapl" not in names:
        nothing = (
            "this machine shows no power sensor (virtual machines and most containers do not): "
            "its figures stay modelled"
        )
        if platform.machine().lower() in ("x86_64", "amd64"):  # other processors have no RAPL
            found.append(
                Advice(f"{nothing}. On the host itself, load RAPL's driver", ("sudo modprobe intel_rapl_msr",))
            )
        else:
            found.append(Advice(nothing))
    return found


def _board_model(sysfs: Path, root: Path) -> str:
    """Return a small board's model name, or an empty text.

    /proc/cpuinfo is read too, because containers hide /sys/firmware.
    """
    model = read_text(sysfs / "firmware/devicetree/base/model")
    if model:
        return model
    named = re.search(r"^Model\s*:\s*(.+)$", read_text(root / "proc/cpuinfo") or "", re.MULTILINE)
    return named[1].strip() if named else ""


def _raspberry_pi(model: str, names: set[str], vcgencmd: str, root: Path) -> list[Advice]:
    found = []
    in_container = (root / ".dockerenv").exists() or (root / "run/.containerenv").exists()
    device = root / _FIRMWARE_DEVICE.lstrip("/")
    if shutil.which(vcgencmd) is None:
        found.append(
            Advice(
                "vcgencmd is missing: no throttling flags, and on a Pi 5 no PMIC power",
                ("sudo apt-get install raspi-utils",),
            )
        )
    elif not device.exists() and in_container:
        found.append(
            Advice(
                "vcgencmd cannot reach the firmware from this container: start the container with its device",
                (f"docker run --device {_FIRMWARE_DEVICE} ...",),
            )
        )
    elif not os.access(device, os.R_OK | os.W_OK):
        found.append(
            Advice(
                f"this user may not use {_FIRMWARE_DEVICE}: join its group, then log in again",
                ("sudo usermod -aG video $USER",),
            )
        )
    elif "pmic" not in names and "Pi 5" in model:
        found.append(Advice(f"the PMIC does not answer ({_why_silent(vcgencmd)})", ("sudo rpi-update",)))
    return found


def _why_silent(vcgencmd: str) -> str:
    try:
        return ask(vcgencmd, "pmic_read_adc").strip().splitlines()[0][:60]
    except SensorFault as fault:
        return str(fault)
    except IndexError:
        return "an empty answer"


def _current_sensor(sysfs: Path, model: str) -> Advice:
    if not model.startswith("Raspberry Pi"):
        return Advice("no current sensor is shown in /sys/class/hwmon: load its driver", ("sudo modprobe ina3221",))
    reach = "it is the only measurement on this board" if "Pi 5" not in model else "it sees the 5 V loads too"
    buses = numbered(sysfs / "class/i2c-adapter", "i2c-*")
    switch_on = () if buses else ("sudo raspi-config nonint do_i2c 0",)
    return Advice(
        f"no current sensor: an INA219 or INA226 in the supply line measures the whole board ({reach}). "
        "Wired to the I2C pins, the kernel needs its overlay (the shunt's resistance in microohm)",
        (
            *switch_on,
            "echo dtoverlay=i2c-sensor,ina219,addr=0x40,shunt=100000 | sudo tee -a /boot/firmware/config.txt",
            "sudo reboot",
        ),
    )


def _rapl(sysfs: Path, names: set[str]) -> list[Advice]:
    if "rapl" in names:
        return []
    for folder in zone_folders(sysfs, "package"):
        try:
            read_number(folder / "energy_uj")
        except SensorFault:
            return [
                Advice(
                    "RAPL counts the processor's joules, but only root may read them: open them to all users "
                    "(the first line until the next start, the second for good)",
                    (
                        "sudo chmod -R a+r /sys/class/powercap/intel-rapl",
                        'echo \'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod -R a+r '
                        "/sys/class/powercap/intel-rapl\"' | sudo tee /etc/udev/rules.d/70-rapl.rules",
                    ),
                )
            ]
    return []


def _nvidia(names: set[str], root: Path) -> list[Advice]:
    if "nvml" in names:
        return []
    if (root / "dev/nvidiactl").exists():
        return [
            Advice("an NVIDIA device is there, but NVML does not answer: see what the driver says", ("nvidia-smi",))
        ]
    if (root / "proc/driver/nvidia").exists():
        return [
            Advice(
                "the host has an NVIDIA driver that this container was not given",
                ("docker run --gpus all ...",),
            )
        ]
    return []
