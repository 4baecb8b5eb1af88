"""List the picture files in a folder, and the class folders of a data set."""

from __future__ import annotations

import os
from pathlib import Path

from tbft.data.picture_file import SUFFIXES
from tbft.errors import BadInput
from tbft.paths import on_one_line


def pictures_in(folder: Path) -> list[Path]:
    """List the picture files in a folder, at any depth, sorted and without hidden ones.

    Raises:
        BadInput: if there is none, or the folder cannot be listed.
    """
    found: list[Path] = []
    try:
        for where, folders, files in os.walk(folder, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            found += [
                Path(where, name)
                for name in sorted(files)
                if name.lower().endswith(SUFFIXES) and not name.startswith(".")
            ]
    except OSError as error:
        where = on_one_line(error.filename or folder)
        raise BadInput(f"{where} cannot be read ({error.strerror}): check the path and its permissions") from None
    if not found:
        raise BadInput(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))}): add some, or remove the folder")
    return found


def class_folders(folder: Path) -> list[str]:
    """List the names of the folders in a folder, sorted and without hidden ones.

    Raises:
        BadInput: if there is none, or the folder cannot be listed.
    """
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise BadInput(f"{folder} cannot be read ({error.strerror}): check data.root and its permissions") from None
    if not names:
        raise BadInput(f"{folder} has no class folders: put the pictures of each class into a folder of its name")
    return names


def _raise(error: OSError) -> None:
    raise error
