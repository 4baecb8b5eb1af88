"""Paths as a user writes them, which may be any text."""

from __future__ import annotations

from pathlib import Path

from tbft.errors import BadInput


def user_path(text: str) -> Path:
    """Return a path with ``~`` expanded, or unchanged if there is no such user.

    Raises:
        BadInput: if the path is empty, as an unset variable of the shell is.
    """
    if not text.strip():
        raise BadInput("a path is empty, and the working folder is hardly meant: give one, such as . if it is")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def is_file(path: Path) -> bool:
    """Return whether a path is a regular file.

    A folder, pipe, socket or device is none: reading from it may never end. Neither is text that no file system accepts
    as a name.
    """
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; text that no file system accepts as a name is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def on_one_line(path: str | Path) -> str:
    """Return a path for a message, with characters that do not print (line breaks, bytes that are no UTF-8) escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(path))
