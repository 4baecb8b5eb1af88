"""Questions to the firmware of a Raspberry Pi through the `vcgencmd` program, which may be missing or hang."""

from __future__ import annotations

import subprocess

from tbft.energy.sensors.source import SensorFault

TIMEOUT_SECONDS = 1.0
"""Longest wait for an answer; the firmware answers within milliseconds or not at all."""


def ask(vcgencmd: str, *question: str) -> str:
    """Return the firmware's answer to a command.

    Args:
        vcgencmd: Name or path of the program.
        question: The command and its arguments, such as `get_throttled`.

    Raises:
        SensorFault: If the program is missing, hangs, fails, or the firmware does not know the command.
    """
    try:
        answer = subprocess.run(
            [vcgencmd, *question],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise SensorFault(f"there is no program {vcgencmd}") from None
    except subprocess.TimeoutExpired:
        raise SensorFault(f"{vcgencmd} {question[0]} did not answer within {TIMEOUT_SECONDS:g} s") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SensorFault(f"{vcgencmd} cannot be run ({error})") from None
    if answer.returncode != 0 or answer.stdout.startswith("error="):
        words = (answer.stderr or answer.stdout).strip().splitlines()
        raise SensorFault(
            f"{vcgencmd} {question[0]} failed ({words[0] if words else f'exit code {answer.returncode}'})"
        )
    return answer.stdout
