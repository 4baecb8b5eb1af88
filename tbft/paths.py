"""Paths as a user writes them: any text, which need not be the name of anything."""

from __future__ import annotations

from pathlib import Path

from tbft.errors import BadInput


def user_path(text: str) -> Path:
    """A path with ``~`` written out; as it stands where there is no such user.

    Raises:
        BadInput: if it is empty, as a variable of the shell that nobody set is.
    """
    if not text.strip():
        raise BadInput("a path is empty, and the working folder is hardly meant: give one, such as . if it is")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def is_file(path: Path) -> bool:
    """Whether a regular file is there: no folder, pipe, socket or device, from which reading may never end.

    ``False`` too for what no file system takes for a name.
    """
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder is there; ``False`` too for what no file system takes for a name."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def on_one_line(path: str | Path) -> str:
    """A path for a message: what no screen shows (line breaks, bytes that are no UTF-8) is written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(path))
