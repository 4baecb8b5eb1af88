"""Readers for the one-value files of /sys."""

from __future__ import annotations

from pathlib import Path

from tbft.energy.sensors.source import SensorFault


def read_text(path: Path) -> str | None:
    """Return the file's text without surrounding blanks, or None if it cannot be read."""
    try:
        return path.read_text().strip("\0 \n\t")
    except (OSError, UnicodeDecodeError):
        return None


def read_number(path: Path) -> float:
    """Return the number in the file.

    Raises:
        SensorFault: If the file is gone or unreadable, or holds no number.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise SensorFault(f"{path} has vanished") from None
    except PermissionError:
        raise SensorFault(f"no permission to read {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SensorFault(f"{path} cannot be read ({error})") from None
    try:
        return float(text)
    except ValueError:
        raise SensorFault(f"{path} holds {text.strip()[:20]!r} and no number") from None


def numbered(folder: Path, pattern: str) -> list[Path]:
    """Return the paths in a folder that match a pattern, hwmon2 before hwmon10; empty if the folder is missing."""
    try:
        found = list(folder.glob(pattern))
    except OSError:
        return []
    return sorted(found, key=lambda path: (len(path.name), path.name))
